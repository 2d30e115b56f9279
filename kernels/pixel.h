// The arithmetic of one pixel, stated once: the CUDA kernels (*.cu) and their CPU twins (*.cpp) both include this file.
//
// Composite: sample each shown class's logits bilinearly with half-pixel centres (edges clamped), take the maximum over
// the shown classes, sigmoid it, blend, round half up. A logit that is not finite counts as minus infinity.
// Preprocess: average over the source interval where an axis shrinks, bilinear where it grows, round half up to a
// level, normalise. `edgex/compositors/reference.py` and `edgex/preprocess.py` say the same again in float64.
//
// No header is included, because NVRTC has none; no function branches on anything but its arguments' values, so that
// a compiler can vectorise a loop over them. Sizes: 2 * source * target of an axis must stay below 2^31.
#pragma once

#ifdef __CUDACC__
#define EDGEX_BOTH __host__ __device__ __forceinline__
#else
#define EDGEX_BOTH inline __attribute__((always_inline))
#endif

namespace edgex {

// Two lerps with any weight above 0 leave less of MISSING than of minus STEEPEST, so one missing tap decides a sample.
constexpr float MISSING = -3e37f;
constexpr float STEEPEST = 1e20f;
constexpr int HEAT_ENTRIES = 4096;  // 16 between two colours of the map: off by at most a fifth of a level
constexpr int FINE = 128;           // a colour is given in 1/128 of a level, so that a heat colour is not rounded twice
constexpr int FULL = 32767;         // a weight of 1
constexpr float NEAR = 41.0f;       // beyond this logit a mask is 0 or 1 to 18 digits
constexpr float NOTHING = -11.1f;   // below this logit a weight rounds to 0: 1 / (1 + exp(11.1)) < 0.5 / FULL

struct Tap {  // which two of an axis's values a pixel lies between, and the weight of the upper one
    int lower, upper;
    float weight;
};

struct Span {  // which values of an axis one target is made of: head for the first, tail for the last, body in between
    int first, last;
    float head, body, tail;
};

EDGEX_BOTH int float_bits(float value) {
#ifdef __CUDA_ARCH__
    return __float_as_int(value);
#else
    int bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits;
#endif
}

EDGEX_BOTH float bits_float(int bits) {
#ifdef __CUDA_ARCH__
    return __int_as_float(bits);
#else
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
#endif
}

// IEEE half precision, as its 16 bits.
EDGEX_BOTH float from_half(unsigned short half) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
#else
    const int sign = (half & 0x8000) << 16, rest = half & 0x7fff;
    // Scaling by 2^112 moves the exponent's bias and makes subnormals normal; infinity and NaN keep a full exponent.
    const float scaled = bits_float(rest << 13) * 5192296858534827628530496329220096.0f;
    return bits_float(sign | (rest >= 0x7c00 ? 0x7f800000 | rest << 13 : float_bits(scaled)));
#endif
}

// To half precision, to nearest even; what is too large becomes infinity.
EDGEX_BOTH unsigned short to_half(float value) {
#ifdef __CUDA_ARCH__
    unsigned short half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
#else
    const int bits = float_bits(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    const int normal = (rest + 0xfff + (rest >> 13 & 1) - 0x38000000) >> 13;
    const int subnormal = float_bits(bits_float(rest) + 0.5f) - 0x3f000000;  // 0.5 has its last bit at 2^-24
    const int finite = rest < 0x38800000 ? subnormal : normal;
    const int special = rest > 0x7f800000 ? 0x7e00 : 0x7c00;
    return static_cast<unsigned short>(sign | (rest < 0x477ff000 ? finite : special));
#endif
}

EDGEX_BOTH float limited(float value, float low, float high) {
    value = value < high ? value : high;
    return value > low ? value : low;
}

// A logit as it is sampled: limited, and MISSING where it is not finite (told by its bits, which no option of a
// compiler can take for granted).
EDGEX_BOTH float taken(float logit) {
    const bool finite = (float_bits(logit) & 0x7f800000) != 0x7f800000;
    return finite ? limited(logit, -STEEPEST, STEEPEST) : MISSING;
}

// Pixel i of `target` lies at ((2 i + 1) count - target) / (2 target) among `count` values, clamped to the ends.
EDGEX_BOTH Tap tap(int pixel, int count, int target) {
    const int end = (count - 1) * 2 * target;
    int place = (2 * pixel + 1) * count - target;
    place = place < 0 ? 0 : (place > end ? end : place);
    const int lower = place / (2 * target), rest = place % (2 * target);
    return {lower, lower + (rest > 0), static_cast<float>(rest) / static_cast<float>(2 * target)};
}

EDGEX_BOTH float mix(float low, float high, float weight) { return low + weight * (high - low); }

// 1 / (1 + exp(-logit)) of a logit between -NEAR and NEAR, to 3e-5.
EDGEX_BOTH float sigmoid_near(float logit) {
    const float power = -1.44269504f * logit;
#ifdef __CUDA_ARCH__
    float exponential;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(exponential) : "f"(power));
    return __fdividef(1.0f, 1.0f + exponential);
#else
    const float shifted = power + 12582912.0f;  // 1.5 * 2^23: its last bit is worth 1, so the sum rounds to a whole
    const float rest = power - (shifted - 12582912.0f);  // -0.5 to 0.5
    float exponential = 5.5171654e-2f;                   // 2^rest to 8e-5: minimax polynomial of degree 3
    exponential = exponential * rest + 2.4261114e-1f;
    exponential = exponential * rest + 6.9326097e-1f;
    exponential = exponential * rest + 9.9992806e-1f;
    const unsigned whole = static_cast<unsigned>(float_bits(shifted)) << 23;  // into the exponent; 12582912 drops out
    const float divisor = 1.0f + bits_float(static_cast<int>(static_cast<unsigned>(float_bits(exponential)) + whole));
    // Two steps of Newton from a guess by exponent take a third of a division's time in a vector of 16.
    float inverse = bits_float(0x7ef311c7 - float_bits(divisor));
    inverse = inverse * (2.0f - divisor * inverse);
    return inverse * (2.0f - divisor * inverse);
#endif
}

// 1 / (1 + exp(-logit)), to 3e-5; never below 1e-18.
EDGEX_BOTH float sigmoid(float logit) { return sigmoid_near(limited(logit, -NEAR, NEAR)); }

// The weight of a drawing over the picture, 0 to FULL; strength is opacity * FULL.
EDGEX_BOTH int weight_of(float mask, float strength) { return static_cast<int>(mask * strength + 0.5f); }

// A mask as one byte.
EDGEX_BOTH int byte_of(float mask) { return static_cast<int>(mask * 255.0f + 0.5f); }

EDGEX_BOTH int heat_entry(float mask) {
    return static_cast<int>(mask * static_cast<float>(HEAT_ENTRIES - 1) + 0.5f);
}

// pixel + weight (color - pixel), rounded half up: pixel 0 to 255, color in 1/FINE of a level, weight 0 to FULL.
// In 16 bits, with the rounding product that every vector unit has; off by less than 1/100 of a level before rounding.
EDGEX_BOTH int blend(int pixel, int color, int weight) {
    const short base = static_cast<short>(pixel * FINE);
    const short rise = static_cast<short>(color - base);
    const short part = static_cast<short>(((rise * weight >> 14) + 1) >> 1);
    return static_cast<short>(base + part + FINE / 2) >> 7;
}

// What target `index` of an axis is made of, by the manifest's rule "area".
EDGEX_BOTH Span span(int index, int source, int target) {
    if (target >= source) {
        const Tap two = tap(index, source, target);
        return {two.lower, two.upper, 1.0f - two.weight, 0.0f, two.weight};
    }
    const int begin = index * source, end = begin + source;  // in units of 1/target
    const int first = begin / target, last = (end - 1) / target;
    const float whole = static_cast<float>(source);  // first < last, because an interval is longer than 1
    return {first, last, static_cast<float>((first + 1) * target - begin) / whole, static_cast<float>(target) / whole,
            static_cast<float>(end - last * target) / whole};
}

// The nearest level, half up.
EDGEX_BOTH float level(float mean) { return static_cast<float>(static_cast<int>(mean + 0.5f)); }

EDGEX_BOTH float normalised(float level, float scale, float offset) { return level * scale + offset; }

}  // namespace edgex
