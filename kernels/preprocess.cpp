// The CPU twin of preprocess.cu: each target row is mixed from its source rows, then from left to right.
#include "twins.h"

namespace edgex {
namespace EDGEX_ISA {
namespace {

constexpr int AT_ONCE = 6;  // rows between the first and the last that are added in one pass over the sums

typedef float Four __attribute__((vector_size(16)));  // blue, green, red, and a value that is not used

inline __attribute__((always_inline)) Four load(const float* from) {
    Four four;
    __builtin_memcpy(&four, from, sizeof four);
    return four;
}

struct Rows {  // of one target row: the first, the last, and some of those in between
    const unsigned char *first, *last, *middle[AT_ONCE];
    float head, body, tail;
};

// Start the sums with the first and last row, or go on with them; add MIDDLE rows, whose weights are equal, so that
// their sum is formed in whole numbers of 16 bits.
template <int MIDDLE, bool START>
void add_rows(const Rows& rows, float* __restrict sums, int values) {
    const Rows r = rows;
    for (int i = 0; i < values; ++i) {
        float sum = START ? r.head * static_cast<float>(r.first[i]) + r.tail * static_cast<float>(r.last[i]) : sums[i];
        int middle = 0;
        for (int m = 0; m < MIDDLE; ++m) middle += r.middle[m][i];
        sums[i] = MIDDLE > 0 ? sum + r.body * static_cast<float>(middle) : sum;
    }
}

template <int MIDDLE>
void add(int count, bool start, const Rows& rows, float* sums, int values) {
    if constexpr (MIDDLE > 0) {
        if (count < MIDDLE) return add<MIDDLE - 1>(count, start, rows, sums, values);
    }
    if (start) add_rows<MIDDLE, true>(rows, sums, values);
    else add_rows<MIDDLE, false>(rows, sums, values);
}

// Mix the source rows of one target row into sums, [3 width].
void mix_rows(const Preprocess& call, const unsigned char* image, Span y, float* sums) {
    Rows rows = {image + y.first * call.image_stride, image + y.last * call.image_stride, {}, y.head, y.body, y.tail};
    int next = y.first + 1;
    do {
        int count = 0;
        for (; next < y.last && count < AT_ONCE; ++next) rows.middle[count++] = image + next * call.image_stride;
        add<AT_ONCE>(count, next - count == y.first + 1, rows, sums, 3 * call.width);
    } while (next < y.last);
}

Four mix_columns(const float* sums, Span x) {
    const float* at = sums + 3LL * x.first;
    const float* last = sums + 3LL * x.last;
    Four mean = load(at) * x.head;
    if (x.last == x.first) return mean;
    Four middle = {0.0f, 0.0f, 0.0f, 0.0f};
    for (at += 3; at < last; at += 3) middle += load(at);
    return mean + middle * x.body + load(last) * x.tail;
}

void store(const Preprocess& call, const float* means, float scale, float offset, long long place) {
    if (call.half) {
        unsigned short* to = static_cast<unsigned short*>(call.tensor) + place;
        for (int x = 0; x < call.columns; ++x) to[x] = to_half(normalised(level(means[4 * x]), scale, offset));
    } else {
        float* to = static_cast<float*>(call.tensor) + place;
        for (int x = 0; x < call.columns; ++x) to[x] = normalised(level(means[4 * x]), scale, offset);
    }
}

}  // namespace

void preprocess_rows(const Preprocess& call, const PreprocessPlan& plan, int picture, int begin, int end, char* scratch) {
    float* sums = take<float>(scratch, 3LL * call.width + PAD);
    float* means = take<float>(scratch, 4LL * call.columns);
    const unsigned char* image = call.image + picture * call.image_step;
    const long long plane = static_cast<long long>(call.rows) * call.columns;
    for (int y = begin; y < end; ++y) {
        mix_rows(call, image, span(y, call.height, call.rows), sums);
        for (int x = 0; x < call.columns; ++x) {
            const Four mean = mix_columns(sums, plan.columns[x]);
            __builtin_memcpy(means + 4 * x, &mean, sizeof mean);
        }
        for (int c = 0; c < 3; ++c)
            store(call, means + call.channel[c], call.scale[c], call.offset[c],
                  (3LL * picture + c) * plane + static_cast<long long>(y) * call.columns);
    }
}

}  // namespace EDGEX_ISA
}  // namespace edgex
