// The CPU twin of composite.cu: rows of a picture, chunk by chunk, in phases that each run over plain arrays.
// A chunk is sampled class by class, its largest logits become weights, and the picture is blended byte by byte.
#include "twins.h"

namespace edgex {
namespace EDGEX_ISA {
namespace {

struct Buffers {
    float* mixed;       // [count][columns]: the logits of one row, mixed between the two rows of logits around it
    float* best;        // [CHUNK + PAD]: the largest sample
    float* sample;      // [CHUNK + PAD]
    int* winner;        // [CHUNK + PAD]: which class gave it
    short* weight;      // [CHUNK + PAD]
    short* spread;      // [3 (CHUNK + PAD)]: the weight of each byte
    short* painted;     // [3 (CHUNK + PAD)]: the colour of each byte where the classes of a block differ
    unsigned char* bytes;  // [CHUNK + PAD]
    unsigned char* inside;  // [2 line + 1][width + 2 line + PAD], for OUTLINE
};

Buffers buffers(const Composite& call, char* scratch) {
    Buffers b;
    b.mixed = take<float>(scratch, static_cast<long long>(call.count) * call.columns);
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

void mix_row(const Composite& call, int picture, int y, int from, int to, float* mixed) {
    const Tap at = tap(y, call.rows, call.height);
    const char* logits = static_cast<const char*>(call.logits) + picture * call.logits_step;
    const long long plane = static_cast<long long>(call.rows) * call.columns;
    for (int k = from; k < to; ++k) {
        const long long start = call.classes[k] * plane;
        float* row = mixed + static_cast<long long>(k) * call.columns;
        if (call.half) mix_class(call, reinterpret_cast<const unsigned short*>(logits) + start, at, row);
        else mix_class(call, reinterpret_cast<const float*>(logits) + start, at, row);
    }
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

// Segments run from left to right, and each may write past its end what the next one then overwrites.
void sample_chunk(const CompositePlan& plan, int chunk, const float* mixed, float* __restrict samples) {
    for (int s = plan.first_segment[chunk]; s < plan.first_segment[chunk + 1]; ++s) {
        const Segment segment = plan.segments[s];
        const float low = mixed[segment.lower], rise = mixed[segment.upper] - low;
        for (int x = segment.begin; x < segment.end; x += ACROSS) {
            const float* weights = plan.weights + x;
            float* __restrict to = samples + (x - chunk * CHUNK);
            for (int i = 0; i < ACROSS; ++i) to[i] = low + weights[i] * rise;
        }
    }
}

void keep_larger(const float* __restrict sample, int k, float* __restrict best, int* __restrict winner) {
    for (int x = 0; x < CHUNK; ++x) {
        winner[x] = sample[x] > best[x] ? k : winner[x];
        best[x] = limited(best[x], sample[x], -MISSING);
    }
}

// Fill best and, where there are several classes, winner. A class too low to show anywhere in the chunk is passed over:
// it changes no weight. Return what best lies between, from below.
Range largest(const Composite& call, const CompositePlan& plan, int chunk, const Buffers& b) {
    Range all = {MISSING, MISSING};
    bool none = true;
    for (int k = 0; k < call.count; ++k) {
        const float* mixed = b.mixed + static_cast<long long>(k) * call.columns;
        const Range range = range_of(plan, chunk, mixed);
        all.low = range.low > all.low ? range.low : all.low;
        all.high = range.high > all.high ? range.high : all.high;
        if (range.high < NOTHING) continue;
        if (none) {
            sample_chunk(plan, chunk, mixed, b.best);
            for (int x = 0; x < CHUNK && call.count > 1; ++x) b.winner[x] = k;
            none = false;
            continue;
        }
        sample_chunk(plan, chunk, mixed, b.sample);
        keep_larger(b.sample, k, b.best, b.winner);
    }
    if (none) {
        for (int x = 0; x < CHUNK; ++x) b.best[x] = MISSING;
        for (int x = 0; x < CHUNK; ++x) b.winner[x] = 0;
    }
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

// Give each block of pixels its colours: the pattern of the class that won all of them, or colours pixel by pixel.
void paint(const Composite& call, const CompositePlan& plan, const Buffers& b, const short* (&block_colors)[CHUNK / BLOCK]) {
    for (int block = 0; block < CHUNK / BLOCK; ++block) {
        block_colors[block] = plan.patterns;
        if (call.count == 1) continue;
        const int* winner = b.winner + block * BLOCK;
        int differs = 0;
        for (int x = 0; x < BLOCK; ++x) differs |= winner[x] ^ winner[0];
        block_colors[block] = plan.patterns + static_cast<long long>(winner[0]) * 3 * BLOCK;
        if (!differs) continue;
        short* painted = b.painted + block * BLOCK * 3;
        colour(call.colors, winner, painted, BLOCK);
        block_colors[block] = painted;
    }
}

void blend_chunk(const unsigned char* from, unsigned char* to, int pixels, const Buffers& b,
                 const short* const (&block_colors)[CHUNK / BLOCK]) {
    for (int x = 0; x < CHUNK; ++x) {
        b.spread[3 * x] = b.weight[x];
        b.spread[3 * x + 1] = b.weight[x];
        b.spread[3 * x + 2] = b.weight[x];
    }
    int x = 0;
    for (; x + BLOCK <= pixels; x += BLOCK) {
        const short *colors = block_colors[x / BLOCK], *spread = b.spread + 3 * x;
        // Apart from `from` and `to`, which may be one; in 16 bits, in which the compiler finds the rounding product.
        short levels[3 * BLOCK];
        for (int i = 0; i < 3 * BLOCK; ++i) levels[i] = static_cast<short>(blend(from[3 * x + i], colors[i], spread[i]));
        for (int i = 0; i < 3 * BLOCK; ++i) to[3 * x + i] = static_cast<unsigned char>(levels[i]);
    }
    for (int i = 3 * x; i < 3 * pixels; ++i)
        to[i] = static_cast<unsigned char>(blend(from[i], block_colors[x / BLOCK][i - 3 * x], b.spread[i]));
}

void copy(const unsigned char* from, unsigned char* to, int pixels) {
    if (from != to) __builtin_memcpy(to, from, static_cast<unsigned long>(pixels) * 3);
}

void overlay_chunk(const Composite& call, const CompositePlan& plan, int chunk, const Buffers& b,
                   const unsigned char* from, unsigned char* to, int pixels) {
    if (largest(call, plan, chunk, b).high < NOTHING) return copy(from, to, pixels);
    for (int x = 0; x < CHUNK; ++x) b.weight[x] = static_cast<short>(weight_of(sigmoid(b.best[x]), strength_of(call)));
    const short* block_colors[CHUNK / BLOCK];
    paint(call, plan, b, block_colors);
    blend_chunk(from, to, pixels, b, block_colors);
}

void cutout_chunk(const Composite& call, const CompositePlan& plan, int chunk, const Buffers& b,
                  const unsigned char* from, unsigned char* to, int pixels) {
    if (largest(call, plan, chunk, b).low > -NOTHING) return copy(from, to, pixels);
    for (int x = 0; x < CHUNK; ++x) b.weight[x] = static_cast<short>(weight_of(sigmoid(-b.best[x]), strength_of(call)));
    const short* block_colors[CHUNK / BLOCK];
    for (const short*& colors : block_colors) colors = plan.patterns;
    blend_chunk(from, to, pixels, b, block_colors);
}

void heat_chunk(const Composite& call, const CompositePlan& plan, int chunk, const Buffers& b,
                const unsigned char* from, unsigned char* to, int pixels) {
    largest(call, plan, chunk, b);
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

int pixels_of(const Composite& call, int chunk) {
    const int rest = call.width - chunk * CHUNK;
    return rest < CHUNK ? rest : CHUNK;
}

// Where row y is inside the mask, with `line` pixels more on either side that repeat the picture's edge.
unsigned char* inside_row(const Composite& call, const Buffers& b, int y) {
    const long long stride = call.width + 2LL * call.line + PAD;
    return b.inside + (y % (2 * call.line + 1)) * stride + call.line;
}

void find_inside(const Composite& call, const CompositePlan& plan, int picture, int y, const Buffers& b) {
    unsigned char* inside = inside_row(call, b, y);
    mix_row(call, picture, y, 0, call.count, b.mixed);
    for (int chunk = 0; chunk < plan.chunks; ++chunk) {
        largest(call, plan, chunk, b);
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
    mix_row(call, picture, y, 0, call.count, b.mixed);
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
        largest(call, plan, chunk, b);
        const short* block_colors[CHUNK / BLOCK];
        paint(call, plan, b, block_colors);
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
        mix_row(call, picture, y, k, k + 1, b.mixed);
        for (int chunk = 0; chunk < plan.chunks; ++chunk) {
            const int pixels = pixels_of(call, chunk);
            if (range_of(plan, chunk, mixed).high < NOTHING) {
                __builtin_memset(to + chunk * CHUNK, 0, static_cast<unsigned long>(pixels));
                continue;
            }
            sample_chunk(plan, chunk, mixed, b.best);
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
        mix_row(call, picture, y, 0, call.count, b.mixed);
        const unsigned char* from = image + y * call.image_stride;
        unsigned char* to = drawn + y * call.picture_stride;
        for (int chunk = 0; chunk < plan.chunks; ++chunk)
            draw(call, plan, chunk, b, from + 3LL * chunk * CHUNK, to + 3LL * chunk * CHUNK, pixels_of(call, chunk));
    }
}

}  // namespace EDGEX_ISA
}  // namespace edgex
