// Runs the CPU twins on pictures and logits from a generator of numbers and writes every result to a file, so that two
// processors can be compared: twin_driver FILE.
#include <cstdio>
#include <vector>

#include "composite.h"
#include "preprocess.h"

extern "C" int edgex_composite(const edgex::Composite*);
extern "C" int edgex_preprocess(const edgex::Preprocess*);
extern "C" void edgex_set_threads(int);
extern "C" const char* edgex_instruction_set();

static unsigned state = 1;
static int number(int below) { return static_cast<int>((state = state * 1664525u + 1013904223u) >> 8) % below; }

static bool compose(int style, int count, int height, int width, const std::vector<short>& heat, std::FILE* file) {
    std::vector<unsigned char> image(static_cast<size_t>(height) * width * 3);
    std::vector<unsigned char> picture(static_cast<size_t>(height) * width * (style == edgex::MASK ? count : 3));
    std::vector<float> logits(20 * 28 * 28);
    std::vector<int> classes(count);
    std::vector<short> colors(4 * count);
    for (auto& level : image) level = static_cast<unsigned char>(number(256));
    for (auto& logit : logits) logit = number(4000) / 200.0f - 10.0f;
    for (int k = 0; k < count; ++k) classes[k] = k;
    for (int i = 0; i < 4 * count; ++i) colors[i] = static_cast<short>(i % 4 < 3 ? number(256) * edgex::FINE : 0);
    edgex::Composite call{};
    call.image = image.data(), call.picture = picture.data(), call.logits = logits.data();
    call.classes = classes.data(), call.colors = colors.data(), call.heat = heat.data();
    call.image_stride = call.picture_stride = 3 * width;
    call.pictures = 1, call.height = height, call.width = width, call.channels = 20, call.rows = call.columns = 28;
    call.count = count, call.style = style, call.line = 2, call.opacity = 0.6f;
    return edgex_composite(&call) == 0 && std::fwrite(picture.data(), 1, picture.size(), file) == picture.size();
}

static bool preprocess(int height, int width, std::FILE* file) {
    std::vector<unsigned char> image(static_cast<size_t>(height) * width * 3);
    for (auto& level : image) level = static_cast<unsigned char>(number(256));
    std::vector<float> tensor(3 * 48 * 64);
    edgex::Preprocess call{};
    call.image = image.data(), call.tensor = tensor.data(), call.image_stride = 3 * width;
    call.pictures = 1, call.height = height, call.width = width, call.rows = 48, call.columns = 64;
    for (int c = 0; c < 3; ++c) call.channel[c] = 2 - c, call.scale[c] = 1.0f;
    if (edgex_preprocess(&call) != 0) return false;
    for (float level : tensor) std::fputc(static_cast<int>(level), file);
    return true;
}

int main(int, char** arguments) {
    std::FILE* file = std::fopen(arguments[1], "wb");
    std::vector<short> heat(edgex::HEAT_ENTRIES * 4);
    for (int i = 0; i < edgex::HEAT_ENTRIES * 4; ++i) heat[i] = static_cast<short>(i / 4 % 256 * edgex::FINE);
    edgex_set_threads(3);
    std::puts(edgex_instruction_set());
    for (int width : {1, 37, 640, 1283})
        for (int count : {1, 3, 20})
            for (int style = edgex::OVERLAY; style <= edgex::MASK; ++style)
                if (!compose(style, count, 61, width, heat, file)) return 1;
    for (int width : {30, 64, 200})
        if (!preprocess(90, width, file)) return 1;
    return std::fclose(file);
}
