// From a frame to the network's input on a GPU, in one pass: resize, normalise and split into planes.
//
// Entry points: preprocess_{f32,f16}, by type of the result; one argument, a Preprocess by value, whose `half` is not
// read. Block: BLOCK x 1 x 1 threads; no dynamic shared memory.
// Grid: any is right. One block a part of a target row, and so the fastest: z = pictures, y = rows,
// x = ceil(columns / 84) where an axis grows, else ceil(columns / min(84, max(1, 655 columns / width)));
// at most 65535 in y and z.
// A block sums the source rows of one target row, 16 bytes a thread and several rows in flight, and leaves the sums in
// shared memory, a window of the source's columns after the other; then each thread sums its target's columns there.
// Pictures may start anywhere and have any stride; base, stride and step in multiples of 16 bytes are read by 16 bytes.
#include "device.cuh"
#include "preprocess.h"

#define BLOCK 128

namespace edgex {

constexpr int READERS = BLOCK / 3 * 3;     // threads that read: 48 bytes of three are 16 whole pixels
constexpr int WINDOW = READERS * 16 / 3;   // pixels
constexpr int TARGETS = 2;                 // of a thread
constexpr int MOST = TARGETS * BLOCK / 3 / 4 * 4;  // target columns of a block
constexpr int DEPTH = 6;                   // rows in flight; 1080 to 224 makes a target of 5 or 6
constexpr int PADDED = 20;                 // floats apart that threads write 16: no two of eight in one bank

EDGEX_DEVICE float weight_at(const Span& span, int place) {
    return place == span.first ? span.head : (place == span.last ? span.tail : span.body);
}

// Sum 16 bytes from `from` on over the rows of a target.
EDGEX_DEVICE void sum_rows(const unsigned char* from, long long stride, const Span& span, int bytes, bool aligned,
                           float* total) {
#pragma unroll
    for (int i = 0; i < 16; ++i) total[i] = 0.0f;
    for (int row = span.first; row <= span.last; row += DEPTH) {
        uint4 read[DEPTH];
#pragma unroll
        for (int i = 0; i < DEPTH; ++i)
            read[i] = load(from + (row + i) * stride, row + i <= span.last ? bytes : 0, aligned);
#pragma unroll
        for (int i = 0; i < DEPTH; ++i) {
            if (row + i > span.last) continue;
            const float weight = weight_at(span, row + i);
            const unsigned word[4] = {read[i].x, read[i].y, read[i].z, read[i].w};
#pragma unroll
            for (int b = 0; b < 16; ++b) total[b] += weight * byte_float(word[b / 4], b % 4);
        }
    }
}

EDGEX_DEVICE void put(float* tensor, long long at, float value) { tensor[at] = value; }
EDGEX_DEVICE void put(unsigned short* tensor, long long at, float value) { tensor[at] = to_half(value); }

// A plane's value, chosen by comparing: indexed by a variable, the call would be copied to local memory.
template <typename Value>
EDGEX_DEVICE Value of_plane(const Value* values, int plane) {
    return plane == 0 ? values[0] : (plane == 1 ? values[1] : values[2]);
}

template <typename Element>
EDGEX_DEVICE void part(const Preprocess& call, float* sums, int picture, int row, int begin, int count) {
    const int thread = threadIdx.x;
    const unsigned char* image = call.image + picture * call.image_step;
    const bool aligned = ((reinterpret_cast<long long>(image) | call.image_stride) & 15) == 0;
    const Span down = span(row, call.height, call.rows);
    const int start = span(begin, call.width, call.columns).first / 16 * 16;
    const int stop = span(begin + count - 1, call.width, call.columns).last;
    Span across[TARGETS];
    float mean[TARGETS];
#pragma unroll
    for (int i = 0; i < TARGETS; ++i) {
        across[i] = span(begin + (thread + i * BLOCK) % count, call.width, call.columns);
        mean[i] = 0.0f;
    }
    for (int window = start; window <= stop; window += WINDOW) {
        const int byte = window * 3 + thread * 16;
        if (thread < READERS && byte <= stop * 3 + 2) {
            float total[16];
            sum_rows(image + byte, call.image_stride, down, min(16, call.width * 3 - byte), aligned, total);
            float4* to = reinterpret_cast<float4*>(sums + thread * PADDED);
#pragma unroll
            for (int i = 0; i < 4; ++i) to[i] = {total[4 * i], total[4 * i + 1], total[4 * i + 2], total[4 * i + 3]};
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TARGETS; ++i) {
            const int plane = (thread + i * BLOCK) / count;
            if (plane >= 3) continue;
            const int last = min(across[i].last, window + WINDOW - 1);
            for (int x = max(across[i].first, window); x <= last; ++x) {
                const int at = 3 * (x - window) + of_plane(call.channel, plane);
                mean[i] += weight_at(across[i], x) * sums[at / 16 * PADDED + at % 16];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < TARGETS; ++i) {
        const int plane = (thread + i * BLOCK) / count;
        if (plane >= 3) continue;
        const long long line = (3LL * picture + plane) * call.rows + row;
        put(static_cast<Element*>(call.tensor), line * call.columns + begin + (thread + i * BLOCK) % count,
            normalised(level(mean[i]), of_plane(call.scale, plane), of_plane(call.offset, plane)));
    }
}

template <typename Element>
EDGEX_DEVICE void preprocess(const Preprocess& call, float* sums) {
    // As many columns as one window holds, wherever it starts, and every thread has targets enough for.
    const int fit = call.columns >= call.width ? MOST : (WINDOW - 17) * call.columns / call.width;
    const int count = max(1, min(MOST, fit));
    for (int z = blockIdx.z; z < call.pictures; z += gridDim.z)
        for (int y = blockIdx.y; y < call.rows; y += gridDim.y)
            for (int x = blockIdx.x; x < (call.columns + count - 1) / count; x += gridDim.x)
                part<Element>(call, sums, z, y, x * count, min(count, call.columns - x * count));
}

}  // namespace edgex

extern "C" __global__ void __launch_bounds__(BLOCK) preprocess_f32(const edgex::Preprocess call) {
    __shared__ float4 sums[BLOCK * edgex::PADDED / 4];
    edgex::preprocess<float>(call, &sums[0].x);
}

extern "C" __global__ void __launch_bounds__(BLOCK) preprocess_f16(const edgex::Preprocess call) {
    __shared__ float4 sums[BLOCK * edgex::PADDED / 4];
    edgex::preprocess<unsigned short>(call, &sums[0].x);
}
