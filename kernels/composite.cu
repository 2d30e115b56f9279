// Upsampling and compositing on a GPU, in one pass over the picture: 16 bytes a thread and row, four rows in flight.
//
// Entry points: composite_{overlay,heat,cutout,outline,mask}_{f32,f16}, by style and type of the logits; one argument,
// a Composite by value, whose `style` and `half` are not read. Block: BLOCK x 1 x 1 threads; no dynamic shared memory.
// Grid: any is right. One block a tile, and so the fastest: x = ceil(bytes of a row of the result / TILE_BYTES),
// y = ceil(height / TILE_ROWS), z = pictures; at most 65535 in y and z.
// Pictures may start anywhere and have any stride; where base, stride and step are multiples of 16 bytes (for masks:
// base, width and step) access is by 16 bytes, else by single bytes. `colors` and `heat` start at multiples of 8 bytes.
#include "composite.h"
#include "device.cuh"

#define BLOCK 128
#define TILE_ROWS 16
#define TILE_BYTES 512

namespace edgex {

constexpr int WARPS = BLOCK / 32, RUN = TILE_ROWS / WARPS;  // a warp takes RUN rows of a tile, WARPS apart
constexpr int STAGE = 2560;                                 // pairs in shared memory: 20 KB
constexpr int LINES = 3 * TILE_ROWS;                        // most rows of logits that a tile samples
constexpr float LOWEST = -3.4e38f;                          // below MISSING

// Rows of logits, mixed vertically: at (class, column, slot) the value and its rise to the next column.
// An odd number of pairs lies between columns, so that neighbouring columns lie in different banks.
struct Stage {
    float2 pairs[STAGE];
    int lower[LINES + 2], upper[LINES + 2];  // taps of the rows; behind them those of the tile's first and last pixel
    float weight[LINES + 2];
};

template <int STYLE, typename Logit>
struct Tile {
    static constexpr int DEPTH = STYLE == MASK ? 1 : 3;      // bytes of a pixel
    static constexpr int PIXELS = STYLE == MASK ? 16 : 6;    // that 16 bytes touch
    static constexpr int AROUND = STYLE == OUTLINE ? 3 : 1;  // rows, and columns, that a pixel samples
    static constexpr int HERE = AROUND / 2;                  // which of them are its own
    static constexpr int SLOTS = TILE_ROWS * AROUND;         // rows of logits; (run, line around, warp)

    const Composite& call;
    Stage& stage;
    const Logit* logits;
    unsigned char* picture;
    int warp, top, byte, own;  // own: bytes of a row that are this thread's
    int start, columns;              // of the staged columns, or of the staged pixels where they are fewer
    bool by_pixel, picture_aligned;
    int offset[AROUND][PIXELS];      // from `start` on
    float weight[AROUND][PIXELS];
    uint4 rows[RUN];

    EDGEX_DEVICE Tile(const Composite& given, Stage& shared, int batch, int y, int x) : call(given), stage(shared) {
        const unsigned char* image = call.image + batch * call.image_step;
        picture = call.picture + batch * call.picture_step;
        logits = reinterpret_cast<const Logit*>(static_cast<const char*>(call.logits) + batch * call.logits_step);
        const long long apart = STYLE == MASK ? call.width : call.picture_stride;
        const bool aligned = ((reinterpret_cast<long long>(image) | call.image_stride) & 15) == 0;
        picture_aligned = ((reinterpret_cast<long long>(picture) | apart) & 15) == 0;
        const int lane = static_cast<int>(threadIdx.x) % 32;
        warp = static_cast<int>(threadIdx.x) / 32;
        top = y * TILE_ROWS, byte = x * TILE_BYTES + lane * 16;
        own = max(0, min(16, DEPTH * call.width - byte));
#pragma unroll
        for (int run = 0; run < RUN && STYLE != MASK; ++run)
            rows[run] = load(image + row(run) * call.image_stride + byte, row(run) < call.height ? own : 0, aligned);
        const int left = x * TILE_BYTES / DEPTH - reach(), right = ((x + 1) * TILE_BYTES - 1) / DEPTH + reach();
        place_rows(left, right);
        __syncthreads();
        place_columns(left, right);
    }

    EDGEX_DEVICE long long row(int run) const { return top + run * WARPS + warp; }
    EDGEX_DEVICE int reach() const { return STYLE == OUTLINE ? call.line : 0; }
    EDGEX_DEVICE int inside(int x) const { return max(0, min(x, call.width - 1)); }

    EDGEX_DEVICE void place_rows(int left, int right) {
        for (int i = threadIdx.x; i < SLOTS + 2; i += BLOCK) {
            const int around = (i / WARPS % AROUND - HERE) * reach();
            const int y = min(top + i / WARPS / AROUND * WARPS + i % WARPS, call.height - 1) + around;
            const Tap found = i < SLOTS ? tap(max(0, min(y, call.height - 1)), call.rows, call.height)
                                        : tap(inside(i == SLOTS ? left : right), call.columns, call.width);
            stage.lower[i] = found.lower;
            stage.upper[i] = found.upper;
            stage.weight[i] = found.weight;
        }
    }

    EDGEX_DEVICE void place_columns(int left, int right) {
        start = stage.lower[SLOTS];
        columns = stage.lower[SLOTS + 1] - start + 1;
        by_pixel = columns * (WARPS | 1) > STAGE;  // logits lie closer than pixels
        if (by_pixel) {
            start = inside(left);
            columns = inside(right) - start + 1;
        }
        const int pixel = min(byte / DEPTH, call.width - 1);
        Steps steps(pixel, call.columns, call.width);
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) {
#pragma unroll
            for (int side = 0; side < AROUND; ++side) {
                const int x = inside(pixel + i + (side - HERE) * reach());
                const Tap found = side == HERE ? steps.now(call.columns) : tap(x, call.columns, call.width);
                offset[side][i] = min((by_pixel ? x : found.lower) - start, columns - 1);  // less only behind the row
                weight[side][i] = found.weight;
            }
            steps.next();
        }
    }

    // The logit of a class between two rows, in one column.
    EDGEX_DEVICE float between(const Logit* plane, int at, unsigned column) const {
        const unsigned width = call.columns;
        return mix(read(plane, stage.lower[at] * width + column), read(plane, stage.upper[at] * width + column),
                   stage.weight[at]);
    }

    // Stage `slots` rows from `from` on of the classes [begin, end); return whether any logit may leave a trace.
    template <int slots>
    EDGEX_DEVICE bool fill(int from, int begin, int end) {
        bool seen = false;
        for (int i = threadIdx.x; i < (end - begin) * columns * slots; i += BLOCK) {
            const int place = i / slots, at = from + i % slots, shown = begin + place / columns;
            const int column = start + place % columns;
            const int lower = by_pixel ? tap(column, call.columns, call.width).lower : column;
            const Logit* plane = logits + 1LL * __ldg(call.classes + shown) * call.rows * call.columns;
            const float value = between(plane, at, lower);
            const float beyond = between(plane, at, min(lower + 1, call.columns - 1));
            stage.pairs[place * (slots | 1) + i % slots] = {value, beyond - value};
            seen = seen || value >= NOTHING || beyond >= NOTHING;
        }
        return seen;
    }

    template <bool WHOLE>  // whether all classes and rows are staged at once, or row by row and some classes at a time
    EDGEX_DEVICE void draw() {
        constexpr int slots = WHOLE ? SLOTS : WARPS, apart = slots | 1;
        constexpr bool unrolled = WHOLE && STYLE != OUTLINE && STYLE != MASK;
        const int chunk = WHOLE ? call.count : STAGE / (columns * apart);
        const bool traced = STYLE == OVERLAY || STYLE == OUTLINE;  // others change a picture also where no mask is
        const bool seen = !WHOLE || __syncthreads_or(fill<slots>(0, 0, call.count)) || !traced;
#pragma unroll (unrolled ? RUN : 1)
        for (int run = 0; run < RUN; ++run) {
            const bool mine = own > 0 && row(run) < call.height;
            float best[PIXELS];
            int winner[PIXELS], sides[PIXELS];  // sides, inside or not: bit 0 left, then here, right, above, below
#pragma unroll
            for (int i = 0; i < PIXELS; ++i) best[i] = LOWEST, winner[i] = sides[i] = 0;
            for (int line = 0; line < AROUND && seen; ++line)
                for (int begin = 0; begin < call.count; begin += chunk) {
                    const int end = min(begin + chunk, call.count), from = (run * AROUND + line) * WARPS;
                    if (!WHOLE) {
                        __syncthreads();
                        fill<slots>(from, begin, end);
                        __syncthreads();
                    }
                    const float2* pairs = stage.pairs + (WHOLE ? from : 0) + warp;
#pragma unroll 1
                    for (int shown = begin; mine && shown < end; ++shown, pairs += columns * apart) {
                        float sampled[AROUND][PIXELS];
#pragma unroll
                        for (int i = 0; i < AROUND * PIXELS; ++i) {
                            const int side = i / PIXELS, at = i % PIXELS;
                            const float2 pair = pairs[offset[side][at] * apart];
                            sampled[side][at] = pair.x + weight[side][at] * pair.y;
                        }
#pragma unroll
                        for (int i = 0; i < PIXELS; ++i) {
                            if (STYLE == OUTLINE && line != HERE) {
                                sides[i] |= (sampled[HERE][i] >= 0.0f) << (line == 0 ? 3 : 4);
                                continue;
                            }
#pragma unroll
                            for (int side = 0; side < AROUND; ++side) sides[i] |= (sampled[side][i] >= 0.0f) << side;
                            winner[i] = sampled[HERE][i] > best[i] ? shown : winner[i];
                            best[i] = sampled[HERE][i] > best[i] ? sampled[HERE][i] : best[i];
                        }
                        if (STYLE == MASK) plane(run, shown, sampled[HERE]);
                    }
                }
            if (STYLE != MASK && mine) {
                unsigned char* to = picture + row(run) * call.picture_stride + byte;
                const uint4 read = rows[unrolled ? run : 0];
                store(to, seen ? blended(read, best, winner, sides) : read, own, picture_aligned);
            }
#pragma unroll
            for (int i = 1; i < RUN; ++i)
                if (!unrolled) rows[i - 1] = rows[i];  // so that constants index `rows`, and it stays in registers
        }
    }

    EDGEX_DEVICE void plane(int run, int shown, const float* sampled) {
        unsigned word[4] = {0, 0, 0, 0};
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) word[i / 4] |= unsigned(byte_of(sigmoid(sampled[i]))) << i % 4 * 8;
        unsigned char* to = picture + (1LL * shown * call.height + row(run)) * call.width + byte;
        store(to, {word[0], word[1], word[2], word[3]}, own, picture_aligned);
    }

    // Blend one row's 16 bytes.
    EDGEX_DEVICE uint4 blended(uint4 read, const float* best, const int* winner, const int* sides) const {
        const unsigned up = byte % DEPTH * 8;
        unsigned word[5], value[20], done[5];
        move_up(read, up, word);
        const float strength = call.opacity * static_cast<float>(FULL);
        value[18] = value[19] = 0;
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) {
            const bool line = (sides[i] & 2) != 0 && sides[i] != 31;
            const float mask = STYLE == OUTLINE ? (line ? 1.0f : 0.0f) : sigmoid(STYLE == CUTOUT ? -best[i] : best[i]);
            const unsigned full = weight_of(STYLE == HEAT ? 1.0f : mask, strength);
            const int entry = STYLE == HEAT ? heat_entry(mask) : (STYLE == CUTOUT ? 0 : winner[i]);
            const uint2 color = __ldg(reinterpret_cast<const uint2*>(STYLE == HEAT ? call.heat : call.colors) + entry);
            const unsigned channel[3] = {color.x & 0xffff, color.x >> 16, color.y};
#pragma unroll
            for (int at = 3 * i; at < 3 * i + 3; ++at)
                value[at] = blend_high(word[at / 4] >> at % 4 * 8 & 255, channel[at % 3], full);
        }
#pragma unroll
        for (int i = 0; i < 5; ++i) done[i] = pack(value + 4 * i);
        return moved_back(done, up);
    }
};

template <int STYLE, typename Logit>
EDGEX_DEVICE void compose(const Composite& call, Stage& stage) {
    using Drawn = Tile<STYLE, Logit>;
    for (int z = blockIdx.z; z < call.pictures; z += gridDim.z)
        for (int y = blockIdx.y; y * TILE_ROWS < call.height; y += gridDim.y)
            for (int x = blockIdx.x; x * TILE_BYTES < call.width * Drawn::DEPTH; x += gridDim.x) {
                Drawn tile(call, stage, z, y, x);
                if (call.count <= STAGE / (tile.columns * (Drawn::SLOTS | 1)))
                    tile.template draw<true>();
                else
                    tile.template draw<false>();
            }
}

}  // namespace edgex

// `blocks` on a multiprocessor: without it ptxas aims for more, and spills a few registers to get there.
#define EDGEX_ENTRY(name, style, logit, blocks)                                                     \
    extern "C" __global__ void __launch_bounds__(BLOCK, blocks) name(const edgex::Composite call) { \
        __shared__ edgex::Stage stage;                                                              \
        edgex::compose<edgex::style, logit>(call, stage);                                           \
    }
#define EDGEX_ENTRIES(name, style, blocks)           \
    EDGEX_ENTRY(name##_f32, style, float, blocks)    \
    EDGEX_ENTRY(name##_f16, style, unsigned short, blocks)
EDGEX_ENTRIES(composite_overlay, OVERLAY, 5)
EDGEX_ENTRIES(composite_heat, HEAT, 5)
EDGEX_ENTRIES(composite_cutout, CUTOUT, 5)
EDGEX_ENTRIES(composite_outline, OUTLINE, 4)
EDGEX_ENTRIES(composite_mask, MASK, 5)
