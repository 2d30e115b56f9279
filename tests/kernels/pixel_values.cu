// Evaluates one function of pixel.h over a table in 32-bit words, from standard input to standard output.
// On the host by g++ -x c++, on the device by nvcc; test_pixel_values.py holds the table.
#include <cstdio>
#include <vector>

#include "pixel.h"

#ifdef __CUDACC__
#define EVERYWHERE __host__ __device__
#else
#define EVERYWHERE
#endif

enum { TAP, TAKEN, SIGMOID, WEIGHT_OF, BLEND, SPAN, LEVEL, NORMALISED, FROM_HALF, TO_HALF, BYTE_OF, HEAT_ENTRY };
constexpr int INPUTS = 3, OUTPUTS = 5;

EVERYWHERE inline void evaluate(int function, const int* in, int* out) {
    using namespace edgex;
    const float first = bits_float(in[0]), second = bits_float(in[1]), third = bits_float(in[2]);
    if (function == TAP) {
        const Tap found = tap(in[0], in[1], in[2]);
        out[0] = found.lower;
        out[1] = found.upper;
        out[2] = float_bits(found.weight);
    } else if (function == SPAN) {
        const Span found = span(in[0], in[1], in[2]);
        out[0] = found.first;
        out[1] = found.last;
        out[2] = float_bits(found.head);
        out[3] = float_bits(found.body);
        out[4] = float_bits(found.tail);
    } else if (function == TAKEN) {
        out[0] = float_bits(taken(first));
    } else if (function == SIGMOID) {
        out[0] = float_bits(sigmoid(first));
    } else if (function == WEIGHT_OF) {
        out[0] = weight_of(first, second);
    } else if (function == BLEND) {
        out[0] = blend(in[0], in[1], in[2]);
    } else if (function == LEVEL) {
        out[0] = float_bits(level(first));
    } else if (function == NORMALISED) {
        out[0] = float_bits(normalised(first, second, third));
    } else if (function == FROM_HALF) {
        out[0] = float_bits(from_half(static_cast<unsigned short>(in[0])));
    } else if (function == TO_HALF) {
        out[0] = to_half(first);
    } else if (function == BYTE_OF) {
        out[0] = byte_of(first);
    } else if (function == HEAT_ENTRY) {
        out[0] = heat_entry(first);
    }
}

#ifdef __CUDACC__
__global__ void evaluate_all(int function, int count, const int* in, int* out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) evaluate(function, in + INPUTS * i, out + OUTPUTS * i);
}

// Whether the device did it.
bool run(int function, int count, const std::vector<int>& in, std::vector<int>& out) {
    int *device_in = nullptr, *device_out = nullptr;
    cudaMalloc(&device_in, in.size() * sizeof(int));
    cudaMalloc(&device_out, out.size() * sizeof(int));
    cudaMemcpy(device_in, in.data(), in.size() * sizeof(int), cudaMemcpyHostToDevice);
    cudaMemset(device_out, 0, out.size() * sizeof(int));
    evaluate_all<<<(count + 255) / 256, 256>>>(function, count, device_in, device_out);
    cudaMemcpy(out.data(), device_out, out.size() * sizeof(int), cudaMemcpyDeviceToHost);
    cudaFree(device_in);
    cudaFree(device_out);
    return cudaDeviceSynchronize() == cudaSuccess && cudaGetLastError() == cudaSuccess;
}
#else
bool run(int function, int count, const std::vector<int>& in, std::vector<int>& out) {
    for (int i = 0; i < count; ++i) evaluate(function, &in[INPUTS * i], &out[OUTPUTS * i]);
    return true;
}
#endif

int main() {
    int header[2];  // function, rows
    if (std::fread(header, sizeof(int), 2, stdin) != 2) return 1;
    std::vector<int> in(INPUTS * header[1]), out(OUTPUTS * header[1]);
    if (std::fread(in.data(), sizeof(int), in.size(), stdin) != in.size()) return 1;
    if (!run(header[0], header[1], in, out)) return 2;
    return std::fwrite(out.data(), sizeof(int), out.size(), stdout) == out.size() ? 0 : 1;
}
