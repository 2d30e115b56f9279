// Compares what device.cuh says in its own way with what pixel.h says; returns how often they differ.
#include "device.cuh"

extern "C" __attribute__((visibility("default"))) int wrong_steps(int from, int count, int target) {
    int wrong = 0;
    edgex::Steps steps(from, count, target);
    for (int pixel = from; pixel < target; ++pixel, steps.next()) {
        const edgex::Tap found = steps.now(count), expected = edgex::tap(pixel, count, target);
        wrong += found.lower != expected.lower || found.upper != expected.upper || found.weight != expected.weight;
    }
    return wrong;
}

extern "C" __attribute__((visibility("default"))) int wrong_blends(int color) {
    int wrong = 0;
    for (int pixel = 0; pixel < 256; ++pixel)
        for (int weight = 0; weight <= edgex::FULL; ++weight)
            wrong += edgex::blend_high(pixel, color, weight) >> 24 != unsigned(edgex::blend(pixel, color, weight));
    return wrong;
}
