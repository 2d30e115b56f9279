// What one preprocess call takes, the same for the CUDA kernels and the CPU twin.
// Mirrored field by field in edgex/arguments.py; edgex/native.py compares the sizes.
#pragma once

#include "pixel.h"

namespace edgex {

// From uint8 [height, width, 3] to [3, rows, columns] in float32, or float16 where `half`; contiguous.
struct Preprocess {
    const unsigned char* image;
    void* tensor;
    long long image_stride;  // bytes from one row to the next
    long long image_step;    // bytes from one picture of a batch to the next; tensors lie one behind the other
    int pictures;            // of the batch
    int height, width;
    int rows, columns;
    int half;
    int channel[3];          // which channel of the image plane c is: 2, 1, 0 for a network that takes RGB
    float scale[3];          // of plane c: value = level * scale + offset
    float offset[3];
};

}  // namespace edgex
