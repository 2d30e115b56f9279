// The pool behind parallel.h: threads sleep until a job comes and take its parts one by one.
#include "parallel.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#define EDGEX_FORKS
#include <pthread.h>
#include <unistd.h>
#endif

namespace edgex {
namespace {

struct Pool {
    std::mutex mutex;
    std::condition_variable came, done;
    void* job = nullptr;
    Part part = nullptr;
    std::atomic<int> next{0};
    int parts = 0, wanted = 0, working = 0, threads = 0;  // under the mutex
    long long jobs = 0;
};

std::atomic_flag busy = ATOMIC_FLAG_INIT;  // guards the pool as a whole: whoever finds it set works alone
Pool* pool = nullptr;                      // never freed: its threads sleep in it until the process ends

void work(Pool& p, void* job, Part part, int parts) {
    for (int i; (i = p.next.fetch_add(1, std::memory_order_relaxed)) < parts;) part(job, i);
}

void serve(Pool* p) {
    std::unique_lock<std::mutex> lock(p->mutex);
    for (long long seen = 0;;) {
        p->came.wait(lock, [&] { return p->jobs != seen; });
        seen = p->jobs;
        if (p->wanted == 0) continue;
        --p->wanted;
        ++p->working;
        void* const job = p->job;
        const Part part = p->part;
        const int parts = p->parts;
        lock.unlock();
        work(*p, job, part, parts);
        lock.lock();
        if (--p->working == 0) p->done.notify_one();
    }
}

Pool& opened() {
    if (!pool) {
        pool = new Pool;
#ifdef EDGEX_FORKS
        static bool registered = false;
        if (!registered) pthread_atfork(nullptr, nullptr, [] { pool = nullptr, busy.clear(); });
        registered = true;
#endif
    }
    return *pool;
}

void share(void* job, Part part, int parts, int threads) {
    Pool& p = opened();
    std::unique_lock<std::mutex> lock(p.mutex);
    try {
        for (; p.threads < threads - 1; ++p.threads) std::thread(serve, &p).detach();
    } catch (const std::system_error&) {
        // No more threads can be had: those that there are do the work.
    }
    p.job = job, p.part = part, p.parts = parts;
    p.next = 0;
    const int wanted = threads < parts ? threads - 1 : parts - 1;
    p.wanted = wanted;
    ++p.jobs;
    lock.unlock();
    if (wanted > 1) p.came.notify_all();
    else p.came.notify_one();
    work(p, job, part, parts);
    lock.lock();
    p.wanted = 0;  // whoever has not come by now finds nothing left to do
    p.done.wait(lock, [&] { return p.working == 0; });
}

}  // namespace

void run_parts(void* job, Part part, int parts, int threads) {
    if (threads > 1 && parts > 1 && !busy.test_and_set(std::memory_order_acquire)) {
        share(job, part, parts, threads);
        busy.clear(std::memory_order_release);
        return;
    }
    for (int i = 0; i < parts; ++i) part(job, i);
}

}  // namespace edgex
