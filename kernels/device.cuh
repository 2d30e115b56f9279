// What the CUDA kernels share beside pixel.h: 16 bytes of a picture at a time, and taps of consecutive pixels.
//
// Device code only, and no header either; tests compile it for the CPU behind tests/kernels/emulation.h.
#pragma once

#include "pixel.h"

#define EDGEX_DEVICE __device__ __forceinline__

namespace edgex {

// Up to 16 bytes; 0 for the others. Past the first cache, which is for what is read more than once.
EDGEX_DEVICE uint4 load(const unsigned char* from, int bytes, bool aligned) {
    if (aligned && bytes == 16) return __ldcg(reinterpret_cast<const uint4*>(from));
    unsigned word[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 16; ++i) word[i / 4] |= (i < bytes ? static_cast<unsigned>(from[i]) : 0u) << i % 4 * 8;
    return {word[0], word[1], word[2], word[3]};
}

EDGEX_DEVICE void store(unsigned char* to, uint4 words, int bytes, bool aligned) {
    if (aligned && bytes == 16) return __stcg(reinterpret_cast<uint4*>(to), words);
    const unsigned word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 16; ++i)
        if (i < bytes) to[i] = static_cast<unsigned char>(word[i / 4] >> i % 4 * 8);
}

// 16 bytes of a row, moved up by the bits of the first pixel that lie before them, so that each channel of each of the
// six pixels has a fixed place; and back.
EDGEX_DEVICE void move_up(uint4 from, unsigned bits, unsigned* word) {
    word[0] = from.x << bits;
    word[1] = __funnelshift_l(from.x, from.y, bits);
    word[2] = __funnelshift_l(from.y, from.z, bits);
    word[3] = __funnelshift_l(from.z, from.w, bits);
    word[4] = __funnelshift_l(from.w, 0, bits);
}

EDGEX_DEVICE uint4 moved_back(const unsigned* word, unsigned bits) {
    return {__funnelshift_r(word[0], word[1], bits), __funnelshift_r(word[1], word[2], bits),
            __funnelshift_r(word[2], word[3], bits), __funnelshift_r(word[3], word[4], bits)};
}

// The highest bytes of four values.
EDGEX_DEVICE unsigned pack(const unsigned* value) {
    return __byte_perm(__byte_perm(value[0], value[1], 0x0073), __byte_perm(value[2], value[3], 0x0073), 0x5410);
}

// Byte `at` of a word as float: put below the exponent of 2^23, because conversions are four to eight times slower.
EDGEX_DEVICE float byte_float(unsigned word, int at) {
    return bits_float(static_cast<int>(__byte_perm(word, 0x4b000000, 0x7650 | at))) - 8388608.0f;
}

// blend() with its result in the highest byte: pixel (2^24 - 512 weight) + 4 weight color + half a level, where both
// roundings of blend() have become one addition, because they are floors of whole numbers.
EDGEX_DEVICE unsigned blend_high(unsigned pixel, unsigned color, unsigned weight) {
    return pixel * ((1u << 24) - 512u * weight) + (color * (4u * weight) + (1u << 23) + (1u << 16));
}

// tap() of one pixel after the other, with one division for them all.
struct Steps {
    int lower, whole;
    unsigned rest, part, full;

    EDGEX_DEVICE Steps(int pixel, int count, int target) {
        full = 2u * target;
        const unsigned place = (2u * pixel + 1u) * count + target;  // one whole too much, so that it is not negative
        lower = static_cast<int>(place / full) - 1;
        rest = place % full;
        whole = count < target ? 0 : count / target;
        part = 2u * (count < target ? count : count % target);
    }
    EDGEX_DEVICE Tap now(int count) const {
        const bool inside = lower >= 0 && lower < count - 1;
        const int low = lower < 0 ? 0 : (inside ? lower : count - 1);
        const float weight = static_cast<float>(rest) / static_cast<float>(full);
        return {low, low + (inside && rest > 0), inside ? weight : 0.0f};
    }
    EDGEX_DEVICE void next() {
        lower += whole;
        rest += part;
        if (rest >= full) {
            rest -= full;
            ++lower;
        }
    }
};

EDGEX_DEVICE float read(const float* logits, unsigned at) { return taken(__ldg(logits + at)); }
EDGEX_DEVICE float read(const unsigned short* logits, unsigned at) { return taken(from_half(__ldg(logits + at))); }

}  // namespace edgex
