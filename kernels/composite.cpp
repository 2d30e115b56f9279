// The CPU twin of composite.cu: rows of a picture, chunk by chunk, in phases that each run over plain arrays.
// A chunk is sampled class by class, its largest logits become weights, and the picture is blended byte by byte.
#include <utility>

#include "twins.h"

namespace edgex {
namespace EDGEX_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int VECTOR = 64;  // bytes
#elif defined(__AVX2__)
constexpr int VECTOR = 32;
#else
constexpr int VECTOR = 16;
#endif
constexpr int LANES = VECTOR / 4, VECTORS = GROUP / LANES;
typedef float Lanes __attribute__((vector_size(VECTOR)));
typedef int Whole __attribute__((vector_size(VECTOR)));
typedef short Shorts __attribute__((vector_size(VECTOR)));

constexpr float STEEP = 1e4f;  // beyond, a logit reached by way of another would be off by a tenth of a level

struct Buffers {
    float* mixed;       // [count][columns]: the logits of one row, mixed between the two rows of logits around it
    float* pairs;       // [count][columns + 1][2]: each of them, and the rise to the next; the last rises are 0
    int* seen;          // [count]: the classes that may show in a chunk
    float* best;        // [CHUNK + PAD]: the largest sample
    float* sample;      // [CHUNK + PAD]
    int* winner;        // [CHUNK + PAD]: which class gave it
    short* weight;      // [CHUNK + PAD]
    short* spread;      // [3 (CHUNK + PAD)]: the weight of each byte
    short* painted;     // [3 (CHUNK + PAD)]: the colour of each byte where the classes of a block differ
    unsigned char* bytes;  // [CHUNK + PAD]
    unsigned char* inside;  // [2 line + 1][width + 2 line + PAD], for OUTLINE
};

long long pairs_of(const Composite& call) { return 2 * (call.columns + 1LL); }  // values of a class

Buffers buffers(const Composite& call, char* scratch) {
    Buffers b;
    b.mixed = take<float>(scratch, static_cast<long long>(call.count) * call.columns);
    b.pairs = take<float>(scratch, call.count * pairs_of(call));
    b.seen = take<int>(scratch, call.count);
    b.best = take<float>(scratch, CHUNK + PAD);
    b.sample = take<float>(scratch, CHUNK + PAD);
    b.winner = take<int>(scratch, CHUNK + PAD);
    b.weight = take<short>(scratch, CHUNK + PAD);
    b.spread = take<short>(scratch, 3 * (CHUNK + PAD));
    b.painted = take<short>(scratch, 3 * (CHUNK + PAD));
    b.bytes = take<unsigned char>(scratch, CHUNK + PAD);
    b.inside = take<unsigned char>(scratch, 0);
    return b;
}

float strength_of(const Composite& call) { return call.opacity * static_cast<float>(FULL); }

template <typename T>
float value_of(T logit);
template <>
inline float value_of(float logit) { return taken(logit); }
template <>
inline float value_of(unsigned short logit) { return taken(from_half(logit)); }

// Mix the logits of one class for row y of the picture.
template <typename T>
void mix_class(const Composite& call, const T* plane, Tap y, float* mixed) {
    const T *low = plane + static_cast<long long>(y.lower) * call.columns, *high = plane + static_cast<long long>(y.upper) * call.columns;
    for (int x = 0; x < call.columns; ++x) mixed[x] = mix(value_of(low[x]), value_of(high[x]), y.weight);
}

// Mix the logits of the classes [from, to) for row y; return whether all of them are far from STEEP.
bool mix_row(const Composite& call, int picture, int y, int from, int to, const Buffers& b) {
    const Tap at = tap(y, call.rows, call.height);
    const char* logits = static_cast<const char*>(call.logits) + picture * call.logits_step;
    const long long plane = static_cast<long long>(call.rows) * call.columns;
    float steepest = 0.0f;
    for (int k = from; k < to; ++k) {
        const long long start = call.classes[k] * plane;
        float* row = b.mixed + static_cast<long long>(k) * call.columns;
        float* pairs = b.pairs + k * pairs_of(call);
        if (call.half) mix_class(call, reinterpret_cast<const unsigned short*>(logits) + start, at, row);
        else mix_class(call, reinterpret_cast<const float*>(logits) + start, at, row);
        for (int x = 0; x < call.columns; ++x) {
            const float size = row[x] < 0.0f ? -row[x] : row[x];
            steepest = size > steepest ? size : steepest;
        }
        for (int x = 0; x < call.columns; ++x) {
            pairs[2 * x] = row[x];
            pairs[2 * x + 1] = x + 1 < call.columns ? row[x + 1] - row[x] : 0.0f;
        }
        pairs[2 * call.columns] = pairs[2 * call.columns + 1] = 0.0f;  // read behind the last, with no weight
    }
    return steepest < STEEP;
}

struct Range {
    float low, high;
};

// What a class's samples in a chunk lie between: a sample is never outside the two logits that it is mixed from.
Range range_of(const CompositePlan& plan, int chunk, const float* mixed) {
    Range range = {-MISSING, MISSING};
    for (int s = plan.first_segment[chunk]; s < plan.first_segment[chunk + 1]; ++s) {
        const float a = mixed[plan.segments[s].lower], b = mixed[plan.segments[s].upper];
        const float low = a < b ? a : b, high = a < b ? b : a;
        range.low = low < range.low ? low : range.low;
        range.high = high > range.high ? high : range.high;
    }
    return range;
}

// Any plan: segments run from left to right, and each may write past its end what the next one then overwrites.
void sample_segments(const CompositePlan& plan, int chunk, const float* mixed, float* __restrict samples) {
    for (int s = plan.first_segment[chunk]; s < plan.first_segment[chunk + 1]; ++s) {
        const Segment segment = plan.segments[s];
        const float low = mixed[segment.lower], rise = mixed[segment.upper] - low;
        for (int x = segment.begin; x < segment.end; x += GROUP) {
            const float* weights = plan.weights + x;
            float* __restrict to = samples + (x - chunk * CHUNK);
            for (int i = 0; i < GROUP; ++i) to[i] = low + weights[i] * rise;
        }
    }
}

void keep_larger(const float* __restrict sample, int k, float* __restrict best, int* __restrict winner) {
    for (int x = 0; x < CHUNK; ++x) {
        winner[x] = sample[x] > best[x] ? k : winner[x];
        best[x] = limited(best[x], sample[x], -MISSING);
    }
}

int pixels_of(const Composite& call, int chunk) {
    const int rest = call.width - chunk * CHUNK;
    return rest < CHUNK ? rest : CHUNK;
}

// Fill best and, where there are several classes, winner, one class after the other.
void largest_of_segments(const Composite& call, const CompositePlan& plan, int chunk, int seen, const Buffers& b) {
    sample_segments(plan, chunk, b.mixed + static_cast<long long>(b.seen[0]) * call.columns, b.best);
    for (int x = 0; x < CHUNK && call.count > 1; ++x) b.winner[x] = b.seen[0];
    for (int each = 1; each < seen; ++each) {
        sample_segments(plan, chunk, b.mixed + static_cast<long long>(b.seen[each]) * call.columns, b.sample);
        keep_larger(b.sample, b.seen[each], b.best, b.winner);
    }
}

// The same for gentle logits and a plan in groups: all classes of a vector of pixels at once, so that best and winner
// stay in registers, and every access is aligned. Two to three times as fast with several classes.
template <bool ONE>
void largest_of_groups(const Composite& call, const CompositePlan& plan, int chunk, int seen, const Buffers& b) {
    const int width = call.width - chunk * CHUNK, end = width < CHUNK ? width : CHUNK;
    const int *cells = plan.cells + chunk * (CHUNK / GROUP), *classes = b.seen;
    const float *nears = plan.near + chunk * CHUNK, *beyonds = plan.beyond + chunk * CHUNK, *pairs = b.pairs;
    const long long stride = pairs_of(call);
    float* bests = b.best;
    int *winners = b.winner, x = 0;
    for (; x < end; x += LANES) {
        const float* here = pairs + 2 * cells[x / GROUP];
        Lanes near, beyond;
        __builtin_memcpy(&near, nears + x, VECTOR);
        __builtin_memcpy(&beyond, beyonds + x, VECTOR);
        const auto sample = [&](int k) {
            const float* pair = here + k * stride;
            return pair[0] + near * pair[1] + beyond * pair[3];
        };
        Lanes best = sample(classes[0]);
        Whole winner = Whole{} + classes[0];
        for (int each = 1; each < seen && !ONE; ++each) {
            const int k = classes[each];
            const Lanes next = sample(k);
            winner = next > best ? Whole{} + k : winner;
            best = next > best ? next : best;
        }
        __builtin_memcpy(bests + x, &best, VECTOR);
        if (!ONE) __builtin_memcpy(winners + x, &winner, VECTOR);
    }
    for (; !ONE && x % BLOCK != 0; ++x) winners[x] = 0;  // behind the row: `paint` takes whole blocks
}

// Fill best and winner. A class too low to show anywhere in the chunk is passed over: it changes no weight. Return what
// best lies between.
Range largest(const Composite& call, const CompositePlan& plan, int chunk, bool gentle, const Buffers& b) {
    Range all = {MISSING, MISSING};
    int seen = 0;
    for (int k = 0; k < call.count; ++k) {
        const Range range = range_of(plan, chunk, b.mixed + static_cast<long long>(k) * call.columns);
        all.high = range.high > all.high ? range.high : all.high;
        if (range.high < NOTHING) continue;
        all.low = range.low > all.low ? range.low : all.low;
        b.seen[seen++] = k;
    }
    if (seen == 0) {
        for (int x = 0; x < CHUNK; ++x) b.best[x] = MISSING;
        for (int x = 0; x < CHUNK; ++x) b.winner[x] = 0;
    } else if (!gentle || !plan.grouped) {
        largest_of_segments(call, plan, chunk, seen, b);
    } else if (call.count == 1) {
        largest_of_groups<true>(call, plan, chunk, seen, b);
    } else {
        largest_of_groups<false>(call, plan, chunk, seen, b);
    }
    for (int x = pixels_of(call, chunk); x < CHUNK; ++x) b.best[x] = 0.0f;  // of an earlier row, or call
    return all;
}

// Write one colour a pixel, table[index]. Eight bytes at once, of which the next pixel overwrites the last two; the empty
// statement keeps the compiler from turning this into gathers and scatters, which take twice the time.
void colour(const short* table, const int* index, short* painted, int pixels) {
    for (int x = 0; x < pixels; ++x) {
        __builtin_memcpy(painted + 3 * x, table + 4 * index[x], 8);
        __asm__ volatile("");
    }
}

// The values `first` / 3, (first + 1) / 3 ... of a vector.
template <int FIRST, short... I>
inline Shorts thirds(Shorts values, std::integer_sequence<short, I...>) {
#ifdef __clang__
    return __builtin_shufflevector(values, values, (FIRST + I) / 3 ...);
#else
    return __builtin_shuffle(values, Shorts{(FIRST + I) / 3 ...});
#endif
}

// Three values for each: what holds for a pixel, for its bytes. One permutation a vector of results, where GCC, left to
// itself, takes two of twice the cost: 6 % of an overlay.
template <int PIXELS>
void spread(const short* from, short* to) {
    constexpr int WIDTH = VECTOR / 2;
    constexpr std::make_integer_sequence<short, WIDTH> lanes{};
    for (int x = 0; x < PIXELS; x += WIDTH) {
        Shorts values;
        __builtin_memcpy(&values, from + x, VECTOR);
        const Shorts bytes[3] = {thirds<0>(values, lanes), thirds<WIDTH>(values, lanes), thirds<2 * WIDTH>(values, lanes)};
        __builtin_memcpy(to + 3 * x, bytes, sizeof bytes);
    }
}

// Where no class but the first and the last pixel's won: choose between their two patterns.
void choose(const int* __restrict winner, const short* one, const short* other, short* __restrict painted) {
    short mark[BLOCK], marks[3 * BLOCK];
    for (int x = 0; x < BLOCK; ++x) mark[x] = winner[x] == winner[BLOCK - 1] ? -1 : 0;
    spread<BLOCK>(mark, marks);
    for (int i = 0; i < 3 * BLOCK; ++i) painted[i] = static_cast<short>(one[i] ^ (marks[i] & (one[i] ^ other[i])));
}

// Give each block of pixels its colours: the pattern of the class that won all of them, or colours pixel by pixel.
void paint(const Composite& call, const CompositePlan& plan, int pixels, const Buffers& b,
           const short* (&block_colors)[CHUNK / BLOCK]) {
    for (int block = 0; block * BLOCK < pixels; ++block) {
        block_colors[block] = plan.patterns;
        if (call.count == 1) continue;
        const int* winner = b.winner + block * BLOCK;
        const int first = winner[0], last = winner[BLOCK - 1];
        int differs = 0, third = 0;
        for (int x = 0; x < BLOCK; ++x) {
            differs |= winner[x] ^ first;
            third |= (winner[x] != first) & (winner[x] != last);
        }
        const short* pattern = plan.patterns + static_cast<long long>(first) * 3 * BLOCK;
        short* painted = b.painted + block * BLOCK * 3;
        block_colors[block] = differs ? painted : pattern;
        if (third) colour(call.colors, winner, painted, BLOCK);
        else if (differs) choose(winner, pattern, plan.patterns + static_cast<long long>(last) * 3 * BLOCK, painted);
    }
}

void blend_chunk(const unsigned char* from, unsigned char* to, int pixels, const Buffers& b,
                 const short* const (&block_colors)[CHUNK / BLOCK]) {
    spread<CHUNK>(b.weight, b.spread);
    int x = 0;
    for (; x + BLOCK <= pixels; x += BLOCK) {
        const short *colors = block_colors[x / BLOCK], *weights = b.spread + 3 * x;
        // Apart from `from` and `to`, which may be one; in 16 bits, in which the compiler finds the rounding product.
        short levels[3 * BLOCK];
        for (int i = 0; i < 3 * BLOCK; ++i) levels[i] = static_cast<short>(blend(from[3 * x + i], colors[i], weights[i]));
        for (int i = 0; i < 3 * BLOCK; ++i) to[3 * x + i] = static_cast<unsigned char>(levels[i]);
    }
    for (int i = 3 * x; i < 3 * pixels; ++i)
        to[i] = static_cast<unsigned char>(blend(from[i], block_colors[x / BLOCK][i - 3 * x], b.spread[i]));
}

void copy(const unsigned char* from, unsigned char* to, int pixels) {
    if (from != to) __builtin_memcpy(to, from, static_cast<unsigned long>(pixels) * 3);
}

// Turn the largest samples into weights: of the mask, or of what it hides.
template <bool HIDDEN>
void weigh(Range range, float strength, const float* __restrict best, short* __restrict weight) {
    constexpr float sign = HIDDEN ? -1.0f : 1.0f;
    if (range.low > -NEAR && range.high < NEAR) {  // nothing to limit, which saves a tenth of this loop
        for (int x = 0; x < CHUNK; ++x) weight[x] = static_cast<short>(weight_of(sigmoid_near(sign * best[x]), strength));
    } else {
        for (int x = 0; x < CHUNK; ++x) weight[x] = static_cast<short>(weight_of(sigmoid(sign * best[x]), strength));
    }
}

void overlay_chunk(const Composite& call, const CompositePlan& plan, int chunk, bool gentle, const Buffers& b,
                   const unsigned char* from, unsigned char* to, int pixels) {
    const Range range = largest(call, plan, chunk, gentle, b);
    if (range.high < NOTHING) return copy(from, to, pixels);
    weigh<false>(range, strength_of(call), b.best, b.weight);
    const short* block_colors[CHUNK / BLOCK];
    paint(call, plan, pixels, b, block_colors);
    blend_chunk(from, to, pixels, b, block_colors);
}

void cutout_chunk(const Composite& call, const CompositePlan& plan, int chunk, bool gentle, const Buffers& b,
                  const unsigned char* from, unsigned char* to, int pixels) {
    const Range range = largest(call, plan, chunk, gentle, b);
    if (range.low > -NOTHING) return copy(from, to, pixels);
    weigh<true>(range, strength_of(call), b.best, b.weight);
    const short* block_colors[CHUNK / BLOCK];
    for (const short*& colors : block_colors) colors = plan.patterns;
    blend_chunk(from, to, pixels, b, block_colors);
}

void heat_chunk(const Composite& call, const CompositePlan& plan, int chunk, bool gentle, const Buffers& b,
                const unsigned char* from, unsigned char* to, int pixels) {
    largest(call, plan, chunk, gentle, b);
    const short weight = static_cast<short>(weight_of(1.0f, strength_of(call)));
    for (int x = 0; x < CHUNK; ++x) b.weight[x] = weight;
    for (int x = 0; x < CHUNK; ++x) b.winner[x] = heat_entry(sigmoid(b.best[x]));
    colour(call.heat, b.winner, b.painted, CHUNK);
    const short* block_colors[CHUNK / BLOCK];
    for (int block = 0; block < CHUNK / BLOCK; ++block) block_colors[block] = b.painted + block * BLOCK * 3;
    blend_chunk(from, to, pixels, b, block_colors);
}

void mask_bytes(const float* __restrict samples, unsigned char* __restrict bytes) {
    for (int x = 0; x < CHUNK; ++x) bytes[x] = static_cast<unsigned char>(byte_of(sigmoid(samples[x])));
}

void inside_bytes(const float* __restrict samples, unsigned char* __restrict bytes) {
    for (int x = 0; x < CHUNK; ++x) bytes[x] = samples[x] >= 0.0f;
}

// Where row y is inside the mask, with `line` pixels more on either side that repeat the picture's edge.
unsigned char* inside_row(const Composite& call, const Buffers& b, int y) {
    const long long stride = call.width + 2LL * call.line + PAD;
    return b.inside + (y % (2 * call.line + 1)) * stride + call.line;
}

void find_inside(const Composite& call, const CompositePlan& plan, int picture, int y, const Buffers& b) {
    unsigned char* inside = inside_row(call, b, y);
    const bool gentle = mix_row(call, picture, y, 0, call.count, b);
    for (int chunk = 0; chunk < plan.chunks; ++chunk) {
        largest(call, plan, chunk, gentle, b);
        const int pixels = pixels_of(call, chunk);
        inside_bytes(b.best, b.bytes);
        __builtin_memcpy(inside + chunk * CHUNK, b.bytes, static_cast<unsigned long>(pixels));
    }
    for (int x = 1; x <= call.line; ++x) {
        inside[-x] = inside[0];
        inside[call.width - 1 + x] = inside[call.width - 1];
    }
}

void outline_row(const Composite& call, const CompositePlan& plan, int picture, int y, const Buffers& b,
                 const unsigned char* from, unsigned char* to) {
    const int top = y < call.line ? 0 : y - call.line;
    const int bottom = y + call.line < call.height ? y + call.line : call.height - 1;
    const unsigned char *here = inside_row(call, b, y), *above = inside_row(call, b, top), *below = inside_row(call, b, bottom);
    const short weight = static_cast<short>(weight_of(1.0f, strength_of(call)));
    const bool gentle = mix_row(call, picture, y, 0, call.count, b);
    for (int chunk = 0; chunk < plan.chunks; ++chunk) {
        const int begin = chunk * CHUNK, pixels = pixels_of(call, chunk);
        int drawn = 0;
        for (int x = 0; x < pixels; ++x) {
            const int at = begin + x;
            const int around = here[at - call.line] & here[at + call.line] & above[at] & below[at];
            const int line = here[at] & ~around & 1;
            b.weight[x] = line ? weight : 0;
            drawn |= line;
        }
        if (!drawn) {
            copy(from + 3 * begin, to + 3 * begin, pixels);
            continue;
        }
        for (int x = pixels; x < CHUNK; ++x) b.weight[x] = 0;
        largest(call, plan, chunk, gentle, b);
        const short* block_colors[CHUNK / BLOCK];
        paint(call, plan, pixels, b, block_colors);
        blend_chunk(from + 3 * begin, to + 3 * begin, pixels, b, block_colors);
    }
}

void outline_rows(const Composite& call, const CompositePlan& plan, int picture, int begin, int end, const Buffers& b) {
    const unsigned char* image = call.image + picture * call.image_step;
    unsigned char* drawn = call.picture + picture * call.picture_step;
    int known = begin < call.line ? 0 : begin - call.line;
    for (int y = begin; y < end; ++y) {
        for (; known <= y + call.line && known < call.height; ++known) find_inside(call, plan, picture, known, b);
        outline_row(call, plan, picture, y, b, image + y * call.image_stride, drawn + y * call.picture_stride);
    }
}

// Rows of all planes, one plane below the other.
void mask_rows(const Composite& call, const CompositePlan& plan, int picture, int begin, int end, const Buffers& b) {
    unsigned char* planes = call.picture + picture * call.picture_step;
    for (int row = begin; row < end; ++row) {
        const int k = row / call.height, y = row % call.height;
        unsigned char* to = planes + static_cast<long long>(row) * call.width;
        const float* mixed = b.mixed + static_cast<long long>(k) * call.columns;
        mix_row(call, picture, y, k, k + 1, b);
        for (int chunk = 0; chunk < plan.chunks; ++chunk) {
            const int pixels = pixels_of(call, chunk);
            if (range_of(plan, chunk, mixed).high < NOTHING) {
                __builtin_memset(to + chunk * CHUNK, 0, static_cast<unsigned long>(pixels));
                continue;
            }
            sample_segments(plan, chunk, mixed, b.best);
            mask_bytes(b.best, b.bytes);
            __builtin_memcpy(to + chunk * CHUNK, b.bytes, static_cast<unsigned long>(pixels));
        }
    }
}

}  // namespace

void composite_rows(const Composite& call, const CompositePlan& plan, int picture, int begin, int end, char* scratch) {
    const Buffers b = buffers(call, scratch);
    if (call.style == OUTLINE) return outline_rows(call, plan, picture, begin, end, b);
    if (call.style == MASK) return mask_rows(call, plan, picture, begin, end, b);
    const auto draw = call.style == OVERLAY ? overlay_chunk : call.style == HEAT ? heat_chunk : cutout_chunk;
    const unsigned char* image = call.image + picture * call.image_step;
    unsigned char* drawn = call.picture + picture * call.picture_step;
    for (int y = begin; y < end; ++y) {
        const bool gentle = mix_row(call, picture, y, 0, call.count, b);
        const unsigned char* from = image + y * call.image_stride;
        unsigned char* to = drawn + y * call.picture_stride;
        for (int chunk = 0; chunk < plan.chunks; ++chunk)
            draw(call, plan, chunk, gentle, b, from + 3LL * chunk * CHUNK, to + 3LL * chunk * CHUNK, pixels_of(call, chunk));
    }
}

}  // namespace EDGEX_ISA
}  // namespace edgex
