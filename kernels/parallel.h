// Runs a job's parts on all threads: a pool of its own rather than OpenMP, whose threads spin after each call and so
// take the processor from the network that runs next, and hang in a forked child.
#pragma once

namespace edgex {

using Part = void (*)(void* job, int part);

// Run part 0 .. parts - 1 of a job on up to `threads` threads, the caller among them, and return when all are done.
// While another thread's job runs, the caller does its parts alone. A forked child starts its own threads.
void run_parts(void* job, Part part, int parts, int threads);

}  // namespace edgex
