// Lets g++ compile a .cu file as it stands and run it on the CPU: g++ -x c++ -include emulation.h kernels/composite.cu
//
// The threads of a block are fibers. Between two barriers they run one after the other, each as far as it comes, in an
// order shuffled anew from a seed, so that a missing barrier gives a wrong result; shared memory is filled with NaN
// before each block. A barrier that only some threads reach, and a 16-byte access elsewhere than at a multiple of 16,
// are errors.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "composite.h"
#include "preprocess.h"

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("emulated_shared")))
#define __syncthreads() (void)emulation::barrier(__LINE__, false)
#define __syncthreads_or(value) emulation::barrier(__LINE__, value)

struct float2 { float x, y; };
struct uint2 { unsigned x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct uint3 { unsigned x, y, z; };

inline uint3 threadIdx, blockIdx, blockDim, gridDim;

// The linker's names for the section's ends.
extern __attribute__((visibility("hidden"))) char __start_emulated_shared[], __stop_emulated_shared[];

// The line whose barrier does nothing, for tests of what its absence does.
extern "C" {
inline __attribute__((used, visibility("default"))) int emulation_ignores = 0;
}

namespace emulation {

__attribute__((used)) __shared__ int anchor;  // so that the section is there even without shared memory

using std::max;
using std::min;

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    int waits;  // line of the barrier where it waits; 0 while it runs, -1 when it has ended
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline Fiber* running;
inline int vote, voted;  // of the threads at this barrier, and at the last one
inline std::string error;
inline void (*work)();

inline int barrier(int line, int value) {
    if (line == emulation_ignores) return value;
    vote |= value != 0;
    running->waits = line;
    swapcontext(&running->context, &scheduler);
    return voted;
}

inline void enter() {
    work();
    running->waits = -1;
}

inline unsigned draw(unsigned& seed) {  // xorshift
    seed ^= seed << 13;
    seed ^= seed >> 17;
    return seed ^= seed << 5;
}

inline void prepare(Fiber& fiber) {
    fiber.waits = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, enter, 0);
}

// Run one block; false where a barrier was not reached by all.
inline bool run_block(unsigned& seed) {
    std::memset(__start_emulated_shared, 0xff, __stop_emulated_shared - __start_emulated_shared);
    std::vector<unsigned> order(fibers.size());
    for (unsigned i = 0; i < order.size(); ++i) {
        order[i] = i;
        prepare(fibers[i]);
    }
    for (;;) {
        vote = 0;
        for (unsigned i = order.size() - 1; i > 0; --i) std::swap(order[i], order[draw(seed) % (i + 1)]);
        for (const unsigned thread : order) {
            running = &fibers[thread];
            threadIdx = {thread, 0, 0};
            swapcontext(&scheduler, &running->context);
        }
        voted = vote;
        for (const Fiber& fiber : fibers)
            if (fiber.waits != fibers[0].waits) {
                error = "expected all threads at one barrier, got some in line " + std::to_string(fiber.waits) +
                        " and some in line " + std::to_string(fibers[0].waits) + " (-1: ended)";
                return false;
            }
        if (fibers[0].waits == -1) return true;
    }
}

template <typename Call>
const char* launch(void (*kernel)(Call), const Call* call, const unsigned* grid, unsigned threads, unsigned seed) {
    static void (*entry)(Call);
    static const Call* argument;
    entry = kernel;
    argument = call;
    work = [] { entry(*argument); };
    fibers.resize(threads);
    for (Fiber& fiber : fibers) fiber.stack.resize(1 << 15);
    error.clear();
    blockDim = {threads, 1, 1};
    gridDim = {grid[0], grid[1], grid[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
                if (error.empty() && !run_block(seed)) break;
    return error.c_str();
}

template <typename Value>
const Value& aligned(const Value* from) {
    if (reinterpret_cast<uintptr_t>(from) % sizeof(Value) != 0)
        error = "expected an access at a multiple of " + std::to_string(sizeof(Value)) + " bytes, got another address";
    return *from;
}

}  // namespace emulation

using emulation::max;
using emulation::min;

template <typename Value>
Value __ldg(const Value* from) { return emulation::aligned(from); }
template <typename Value>
Value __ldcg(const Value* from) { return emulation::aligned(from); }
template <typename Value>
void __stcg(Value* to, Value value) { std::memcpy(to, &value, sizeof(emulation::aligned(to))); }

inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) result |= static_cast<unsigned>(bytes >> (selector >> 4 * i & 7) * 8 & 255) << 8 * i;
    return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>(((static_cast<uint64_t>(high) << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}

// What Python calls; `grid` holds three numbers. Returns what went wrong, or an empty text.
extern "C" {
__attribute__((used, weak, visibility("default"))) const char* emulate_composite(
    void (*kernel)(edgex::Composite), const edgex::Composite* call, const unsigned* grid, unsigned threads,
    unsigned seed) {
    return emulation::launch(kernel, call, grid, threads, seed);
}
__attribute__((used, weak, visibility("default"))) const char* emulate_preprocess(
    void (*kernel)(edgex::Preprocess), const edgex::Preprocess* call, const unsigned* grid, unsigned threads,
    unsigned seed) {
    return emulation::launch(kernel, call, grid, threads, seed);
}
}
