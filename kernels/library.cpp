// The library of CPU twins, as edgex/native.py loads it: chooses an instruction set and spreads rows over threads.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "parallel.h"
#include "twins.h"

#ifdef _WIN32
#define EDGEX_EXPORT extern "C" __declspec(dllexport)
#else
#define EDGEX_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace edgex {
namespace {

struct InstructionSet {
    const char* name;
    bool (*supported)();
    CompositeRows composite;
    PreprocessRows preprocess;
};

// The best first.
const InstructionSet SETS[] = {
#ifdef EDGEX_X86
    {"avx512",
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
     },
     avx512::composite_rows, avx512::preprocess_rows},
    {"avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, avx2::composite_rows,
     avx2::preprocess_rows},
#endif
#ifdef __aarch64__
    {"neon", [] { return true; }, baseline::composite_rows, baseline::preprocess_rows},
#else
    {"baseline", [] { return true; }, baseline::composite_rows, baseline::preprocess_rows},
#endif
};
constexpr int SET_COUNT = sizeof SETS / sizeof *SETS;

const InstructionSet* chosen() {
    for (const InstructionSet& set : SETS)
        if (set.supported()) return &set;
    return nullptr;
}

std::atomic<const InstructionSet*> current{chosen()};
std::atomic<int> thread_count{1};

// Memory that a thread keeps from call to call and that only grows.
struct Kept {
    void* memory = nullptr;
    size_t bytes = 0;

    char* at_least(long long wanted) {
        const size_t rounded = (static_cast<size_t>(wanted) + 63) / 64 * 64;
        if (rounded > bytes) {
            std::free(memory);
            memory = std::aligned_alloc(64, rounded);
            bytes = memory ? rounded : 0;
            if (memory) std::memset(memory, 0, rounded);
        }
        return static_cast<char*>(memory);
    }
    ~Kept() { std::free(memory); }
};

thread_local Kept plan_memory, scratch_memory;

// What all parts of a call share. A part is a strip of rows of one picture.
template <typename Call, typename Plan>
struct Job {
    const Call* call;
    const Plan* plan;
    void (*rows)(const Call&, const Plan&, int, int, int, char*);
    int height, strip, strips;
    long long scratch;
    bool failed;  // a thread could not get its scratch memory
};

template <typename Call, typename Plan>
int run(const Call& call, const Plan& plan, void (*rows)(const Call&, const Plan&, int, int, int, char*), int height,
        int strip, long long scratch) {
    Job<Call, Plan> job{&call, &plan, rows, height, strip, (height + strip - 1) / strip, scratch, false};
    const auto part = [](void* shared, int index) {
        auto& j = *static_cast<Job<Call, Plan>*>(shared);
        char* memory = scratch_memory.at_least(j.scratch);
        if (!memory) {
            __atomic_store_n(&j.failed, true, __ATOMIC_RELAXED);
            return;
        }
        const int begin = index % j.strips * j.strip, end = begin + j.strip;
        j.rows(*j.call, *j.plan, index / j.strips, begin, end < j.height ? end : j.height, memory);
    };
    run_parts(&job, part, job.strips * call.pictures, thread_count);
    return job.failed ? -1 : 0;
}

// Fill in where pixels lie among columns of logits; kept, because the next frame has the same size.
bool placed(int width, int columns, CompositePlan& plan) {
    thread_local Kept memory;
    thread_local CompositePlan kept{};
    thread_local int kept_width = 0, kept_columns = 0;
    if (width == kept_width && columns == kept_columns) {
        plan = kept;
        return true;
    }
    const int chunks = (width + CHUNK - 1) / CHUNK, groups = (width + GROUP - 1) / GROUP;
    kept_width = 0;
    char* free = memory.at_least((sizeof(Segment) + 3 * sizeof(float)) * (width + static_cast<long long>(PAD)) +
                                 sizeof(int) * (chunks + groups + 1LL) + 64 * 8);
    if (!free) return false;
    Segment* segments = take<Segment>(free, width);
    float* weights = take<float>(free, width + PAD);
    float* near = take<float>(free, width + PAD);
    float* beyond = take<float>(free, width + PAD);
    int* first = take<int>(free, chunks + 1);
    int* cells = take<int>(free, groups);
    int count = 0;
    bool grouped = true;
    for (int x = 0; x < width + PAD; ++x) {
        const bool in_row = x < width;
        const Tap at = in_row ? tap(x, columns, width) : Tap{0, 0, 0.0f};
        weights[x] = at.weight;
        if (in_row && x % GROUP == 0) cells[x / GROUP] = at.lower;
        const int further = in_row ? at.lower - cells[x / GROUP] : 0;
        near[x] = further == 0 ? at.weight : 1.0f;
        beyond[x] = further == 0 ? 0.0f : at.weight;
        grouped = grouped && further <= 1;
        if (!in_row) continue;
        if (x % CHUNK == 0) first[x / CHUNK] = count;
        if (x % CHUNK != 0 && segments[count - 1].lower == at.lower) {
            segments[count - 1].end = x + 1;
            if (at.upper > segments[count - 1].upper) segments[count - 1].upper = at.upper;
        } else {
            segments[count++] = {x, x + 1, at.lower, at.upper};
        }
    }
    first[chunks] = count;
    plan = kept = {segments, first, weights, cells, near, beyond, grouped, nullptr, chunks};
    kept_width = width, kept_columns = columns;
    return true;
}

bool planned(const Composite& call, CompositePlan& plan) {
    if (!placed(call.width, call.columns, plan)) return false;
    if (call.style == HEAT || call.style == MASK) return true;
    const long long patterns = 3LL * BLOCK * (call.style == CUTOUT ? 1 : call.count);
    short* repeated = reinterpret_cast<short*>(plan_memory.at_least(sizeof(short) * patterns));
    if (!repeated) return false;
    for (long long i = 0; i < patterns; ++i) repeated[i] = call.colors[i / (3 * BLOCK) * 4 + i % 3];
    plan.patterns = repeated;
    return true;
}

}  // namespace
}  // namespace edgex

using namespace edgex;

// Each returns 0, or -1 where memory ran out. The caller answers for the addresses, shapes and classes.
EDGEX_EXPORT int edgex_composite(const Composite* call) {
    CompositePlan plan;
    if (!planned(*call, plan)) return -1;
    const bool masks = call->style == MASK;
    const int strip = call->style == OUTLINE ? 16 + 8 * call->line : 16;  // an outline looks at rows above and below
    return run(*call, plan, current.load()->composite, masks ? call->count * call->height : call->height, strip,
               composite_scratch(*call));
}

EDGEX_EXPORT int edgex_preprocess(const Preprocess* call) {
    char* memory = plan_memory.at_least(sizeof(Span) * static_cast<long long>(call->columns));
    if (!memory) return -1;
    Span* columns = take<Span>(memory, call->columns);
    for (int x = 0; x < call->columns; ++x) columns[x] = span(x, call->width, call->columns);
    return run(*call, PreprocessPlan{columns}, current.load()->preprocess, call->rows, 8, preprocess_scratch(*call));
}

EDGEX_EXPORT void edgex_set_threads(int threads) { thread_count = threads; }
EDGEX_EXPORT int edgex_threads() { return thread_count; }
EDGEX_EXPORT const char* edgex_instruction_set() { return current.load()->name; }

// All that this machine has, the best first, a space between.
EDGEX_EXPORT const char* edgex_instruction_sets() {
    static const std::string names = [] {
        std::string joined;
        for (const InstructionSet& set : SETS)
            if (set.supported()) joined += (joined.empty() ? "" : " ") + std::string(set.name);
        return joined;
    }();
    return names.c_str();
}

// 0, or -1 where this library or machine has no such instruction set.
EDGEX_EXPORT int edgex_set_instruction_set(const char* name) {
    for (const InstructionSet& set : SETS)
        if (!std::strcmp(set.name, name) && set.supported()) {
            current = &set;
            return 0;
        }
    return -1;
}

EDGEX_EXPORT unsigned edgex_composite_bytes() { return sizeof(Composite); }
EDGEX_EXPORT unsigned edgex_preprocess_bytes() { return sizeof(Preprocess); }
EDGEX_EXPORT const char* edgex_source_hash() { return EDGEX_SOURCE_HASH; }
