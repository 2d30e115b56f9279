// What the CPU twins share: the work on a range of rows, and what is prepared once per call for all rows.
// composite.cpp and preprocess.cpp are compiled once per instruction set, each into a namespace of its own
// (EDGEX_ISA); library.cpp prepares, chooses and runs them. They hold plain loops over plain arrays, which the compiler
// vectorises, and call nothing of the standard library: a template shared with another object file could be linked in
// the version of an instruction set that the machine lacks.
#pragma once

#include "composite.h"
#include "preprocess.h"

namespace edgex {

constexpr int CHUNK = 512;  // pixels worked on at once: everything in between stays in the first-level cache
constexpr int BLOCK = 32;   // pixels that share a colour, if they do; 96 bytes of a picture
constexpr int PAD = 64;     // values that a loop may touch past the end of an array in scratch memory
constexpr int GROUP = 16;   // pixels sampled at once

struct Segment {  // pixels of one row and chunk that lie between the same two logits
    int begin, end, lower, upper;
};

// Where the pixels of a row lie among the columns of logits; the same for every row.
struct CompositePlan {
    const Segment* segments;
    const int* first_segment;  // [chunks + 1]
    const float* weights;      // [width + PAD], of the upper logit
    const int* cells;          // [groups]: the lower logit of a group's first pixel
    const float* near;         // [width + PAD]: how far a pixel has come between that logit and the next, 0 to 1,
    const float* beyond;       // [width + PAD]: and how far between the next and the one after
    bool grouped;              // whether no group comes any further
    const short* patterns;     // [colors][3 * BLOCK]: a colour repeated
    int chunks;
};

struct PreprocessPlan {
    const Span* columns;  // [call.columns]
};

// Bytes of scratch memory that a thread needs, aligned to 64.
inline long long composite_scratch(const Composite& call) {
    const long long mixed = sizeof(float) * (static_cast<long long>(call.count) * (3 * call.columns + 2LL) + 2 * PAD) +
                            sizeof(int) * call.count;
    const long long line = 2LL * call.line + 1;
    const long long inside = call.style == OUTLINE ? line * (call.width + 2LL * call.line + PAD) : 0;
    return mixed + inside + 4 * sizeof(float) * (CHUNK + PAD) + (3 * 3 * sizeof(short) + 1) * (CHUNK + PAD) + 64 * 10;
}

inline long long preprocess_scratch(const Preprocess& call) {
    return sizeof(float) * (3LL * call.width + 4LL * call.columns + 2 * PAD) + 64 * 2;
}

using CompositeRows = void (*)(const Composite&, const CompositePlan&, int picture, int begin, int end, char* scratch);
using PreprocessRows = void (*)(const Preprocess&, const PreprocessPlan&, int picture, int begin, int end, char* scratch);

#define EDGEX_TWINS(isa)                                                                                     \
    namespace isa {                                                                                          \
    void composite_rows(const Composite&, const CompositePlan&, int picture, int begin, int end, char*);    \
    void preprocess_rows(const Preprocess&, const PreprocessPlan&, int picture, int begin, int end, char*); \
    }
EDGEX_TWINS(baseline)
EDGEX_TWINS(avx2)
EDGEX_TWINS(avx512)
#undef EDGEX_TWINS

// Takes the next `count` values of a thread's scratch memory.
template <typename T>
inline __attribute__((always_inline)) T* take(char*& scratch, long long count) {
    T* taken = reinterpret_cast<T*>(scratch);
    scratch += (count * static_cast<long long>(sizeof(T)) + 63) / 64 * 64;
    return taken;
}

}  // namespace edgex
