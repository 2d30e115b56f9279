// What one composite call takes, the same for the CUDA kernels and the CPU twin.
// Mirrored field by field in edgex/arguments.py; edgex/native.py compares the sizes.
#pragma once

#include "pixel.h"

namespace edgex {

enum Style { OVERLAY, HEAT, CUTOUT, OUTLINE, MASK };

// A picture is uint8 [height, width, 3], blue, green, red; rows may lie any number of bytes apart, pixels 3.
// MASK writes planes instead, uint8 [count, height, width], contiguous, and reads no image.
// `picture` may be `image`; otherwise they must not overlap.
struct Composite {
    const unsigned char* image;
    unsigned char* picture;
    const void* logits;           // [channels, rows, columns], float32, or float16 where `half`; contiguous
    const int* classes;           // [count], the shown classes in order of display, each below channels
    const short* colors;          // [count][4]: blue, green, red in 1/FINE of a level, 0; the fill for CUTOUT
    const short* heat;            // [HEAT_ENTRIES][4], the same; HEAT alone reads it
    long long image_stride;       // bytes from one row to the next
    long long picture_stride;
    long long image_step;         // bytes from one picture of a batch to the next
    long long picture_step;
    long long logits_step;
    int pictures;                 // of the batch; the CPU is given one after the other, so 1 there
    int height, width;
    int channels, rows, columns;
    int count;
    int style;
    int half;
    int line;                     // width of an outline in pixels
    float opacity;
};

}  // namespace edgex
