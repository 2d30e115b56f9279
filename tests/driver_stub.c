// A libcuda.so.1 without a GPU, for tests of everything around the kernels: device memory is the host's, work waits in its
// stream until someone synchronises, and kernels are the .cu files behind tests/kernels/emulation.h. It refuses what a
// driver refuses: calls without a current context, without cuInit, in a forked child, with memory it has not given out.
// STUB_GPUS, STUB_INTEGRATED: what it says of itself. STUB_COMPOSITE, STUB_PREPROCESS: paths of the emulated modules.
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API CUresult CUDAAPI
#define DEEPEST 64
#define MOST 256

struct work {
    struct work* next;
    const char* kernel;  // NULL: a copy
    unsigned grid[3], block;
    void* to;
    const void* from;
    size_t size;
    char given[512];
};
struct stream {
    struct work *first, *last;
};

static int context, started;  // its address is the primary context
static pid_t process;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread CUcontext stack[DEEPEST];
static __thread int depth;
static struct {
    char* at;
    size_t size;
} memory[MOST];
static int allocations, launches, releases;

int stub_allocations(void) { return allocations; }
int stub_launches(void) { return launches; }
int stub_releases(void) { return releases; }
int stub_depth(void) { return depth; }
int stub_live(void) {
    int live = 0;
    for (int i = 0; i < MOST; ++i) live += memory[i].at != NULL;
    return live;
}

static int number(const char* name, int otherwise) { return getenv(name) ? atoi(getenv(name)) : otherwise; }
static CUresult ready(void) {
    if (!started || process != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
    return depth ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
#define READY                                   \
    do {                                        \
        CUresult not_ready = ready();           \
        if (not_ready != CUDA_SUCCESS) return not_ready; \
    } while (0)

static CUresult take(size_t size, void** at) {
    READY;
    if (size > 1u << 30) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    ++allocations;
    *at = aligned_alloc(256, (size + 255) / 256 * 256);
    memset(*at, 0xa5, size);
    for (int i = 0; i < MOST; ++i)
        if (!memory[i].at) {
            memory[i].at = *at;
            memory[i].size = size;
            break;
        }
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}
static CUresult give(void* at) {
    READY;
    CUresult found = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; ++i)
        if (memory[i].at == at && at) {
            memory[i].at = NULL;
            ++releases;
            free(at);
            found = CUDA_SUCCESS;
            break;
        }
    pthread_mutex_unlock(&lock);
    return found;
}
static int known(const void* at, size_t size) {
    const char* begin = at;
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; ++i)
        found |= memory[i].at && begin >= memory[i].at && begin + size <= memory[i].at + memory[i].size;
    pthread_mutex_unlock(&lock);
    return found;
}
static CUresult later(CUstream on, struct work todo) {
    struct stream* stream = (struct stream*)on;
    struct work* copy = malloc(sizeof todo);
    *copy = todo;
    copy->next = NULL;
    pthread_mutex_lock(&lock);
    if (stream->last) stream->last->next = copy;
    else stream->first = copy;
    stream->last = copy;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}
static CUresult run_kernel(struct work* todo) {
    const int composite = strncmp(todo->kernel, "composite_", 10) == 0;
    void* module = dlopen(getenv(composite ? "STUB_COMPOSITE" : "STUB_PREPROCESS"), RTLD_NOW);
    if (!module) return CUDA_ERROR_LAUNCH_FAILED;
    void* kernel = dlsym(module, todo->kernel);
    const char* (*emulate)(void*, const void*, const unsigned*, unsigned, unsigned) =
        (const char* (*)(void*, const void*, const unsigned*, unsigned, unsigned))dlsym(
            module, composite ? "emulate_composite" : "emulate_preprocess");
    pthread_mutex_lock(&lock);  // the emulation's threadIdx and its like are one for all
    const char* error = kernel && emulate ? emulate(kernel, todo->given, todo->grid, todo->block, 1) : "no such kernel";
    pthread_mutex_unlock(&lock);
    if (!error || !*error) return CUDA_SUCCESS;
    fprintf(stderr, "%s\n", error);
    return CUDA_ERROR_LAUNCH_FAILED;
}

API cuInit(unsigned flags) {
    if (started && process != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
    if (number("STUB_GPUS", 1) == 0) return CUDA_ERROR_NO_DEVICE;
    started = 1;
    process = getpid();
    return CUDA_SUCCESS;
}
API cuDriverGetVersion(int* version) { return *version = 13000, CUDA_SUCCESS; }
API cuGetErrorString(CUresult error, const char** text) {
    *text = error == CUDA_ERROR_NO_DEVICE         ? "no CUDA-capable device is detected"
            : error == CUDA_ERROR_OUT_OF_MEMORY   ? "out of memory"
            : error == CUDA_ERROR_INVALID_CONTEXT ? "invalid device context"
            : error == CUDA_ERROR_NOT_INITIALIZED ? "initialization error"
            : error == CUDA_ERROR_LAUNCH_FAILED   ? "unspecified launch failure"
                                                  : "another error";
    return CUDA_SUCCESS;
}
API cuDeviceGetCount(int* count) {
    if (!started || process != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
    return *count = number("STUB_GPUS", 1), CUDA_SUCCESS;
}
API cuDeviceGet(CUdevice* device, int ordinal) { return *device = ordinal, CUDA_SUCCESS; }
API cuDeviceGetName(char* name, int size, CUdevice device) { return strncpy(name, "Stub", size), CUDA_SUCCESS; }
API cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? 8
             : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 7
             : attribute == CU_DEVICE_ATTRIBUTE_INTEGRATED               ? number("STUB_INTEGRATED", 0)
                                                                         : 1;
    return CUDA_SUCCESS;
}
API cuDeviceComputeCapability(int* major, int* minor, CUdevice device) { return *major = 8, *minor = 7, CUDA_SUCCESS; }
API cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice device) { return *out = (CUcontext)&context, CUDA_SUCCESS; }
API cuDevicePrimaryCtxRelease(CUdevice device) { return CUDA_SUCCESS; }
API cuCtxPushCurrent(CUcontext pushed) {
    if (process != getpid()) return CUDA_ERROR_NOT_INITIALIZED;
    return stack[depth++ % DEEPEST] = pushed, CUDA_SUCCESS;
}
API cuCtxPopCurrent(CUcontext* popped) {
    if (depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
    return *popped = stack[--depth], CUDA_SUCCESS;
}
API cuStreamCreate(CUstream* stream, unsigned flags) {
    READY;
    return *stream = calloc(1, sizeof(struct stream)), CUDA_SUCCESS;
}
API cuStreamDestroy(CUstream stream) {
    READY;
    return ++releases, free(stream), CUDA_SUCCESS;
}
API cuStreamSynchronize(CUstream on) {
    READY;
    struct stream* stream = (struct stream*)on;
    pthread_mutex_lock(&lock);
    struct work* todo = stream->first;
    stream->first = stream->last = NULL;
    pthread_mutex_unlock(&lock);
    CUresult status = CUDA_SUCCESS;
    while (todo) {
        struct work* next = todo->next;
        if (!todo->kernel) memcpy(todo->to, todo->from, todo->size);
        else if (run_kernel(todo) != CUDA_SUCCESS) status = CUDA_ERROR_LAUNCH_FAILED;
        free(todo);
        todo = next;
    }
    return status;
}
API cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) { return ready(); }
API cuEventCreate(CUevent* event, unsigned flags) {
    READY;
    return *event = malloc(1), CUDA_SUCCESS;
}
API cuEventDestroy(CUevent event) {
    READY;
    return ++releases, free(event), CUDA_SUCCESS;
}
API cuEventRecord(CUevent event, CUstream stream) { return ready(); }
#undef cuEventElapsedTime
API cuEventElapsedTime(float* ms, CUevent from, CUevent to) { return *ms = 0.5f, ready(); }
API cuEventElapsedTime_v2(float* ms, CUevent from, CUevent to) { return *ms = 0.5f, ready(); }
API cuMemAlloc(CUdeviceptr* at, size_t size) { return take(size, (void**)at); }
API cuMemFree(CUdeviceptr at) { return give((void*)at); }
API cuMemHostAlloc(void** at, size_t size, unsigned flags) { return take(size, at); }
API cuMemFreeHost(void* at) { return give(at); }
API cuMemHostGetDevicePointer(CUdeviceptr* at, void* host, unsigned flags) { return *at = (CUdeviceptr)host, ready(); }
API cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t size, CUstream stream) {
    READY;
    if (!known((void*)to, size) || !known(from, size)) return CUDA_ERROR_INVALID_VALUE;
    return later(stream, (struct work){.to = (void*)to, .from = from, .size = size});
}
API cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t size, CUstream stream) {
    READY;
    if (!known((void*)from, size) || !known(to, size)) return CUDA_ERROR_INVALID_VALUE;
    return later(stream, (struct work){.to = to, .from = (void*)from, .size = size});
}
API cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, CUjit_option* options, void** values) {
    READY;
    *module = NULL;
    values[1] = values[3] = 0;  // lengths of the two logs
    return memcmp(image, "\x7f" "ELF", 4) ? CUDA_ERROR_INVALID_IMAGE : CUDA_SUCCESS;
}
API cuModuleUnload(CUmodule module) { return ready(); }
API cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    READY;
    return *function = (CUfunction)strdup(name), CUDA_SUCCESS;
}
API cuFuncSetBlockShape(CUfunction function, int x, int y, int z) { return CUDA_SUCCESS; }
API cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, CUstream stream, void** arguments, void** extra) {
    READY;
    if (arguments || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER || extra[2] != CU_LAUNCH_PARAM_BUFFER_SIZE)
        return CUDA_ERROR_INVALID_VALUE;
    const size_t size = *(size_t*)extra[3];
    struct work todo = {.kernel = (const char*)function, .grid = {gx, gy, gz}, .block = bx};
    if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || by * bz != 1) return CUDA_ERROR_INVALID_VALUE;
    if (size > sizeof todo.given) return CUDA_ERROR_INVALID_VALUE;
    memcpy(todo.given, extra[1], size);
    ++launches;
    return later(stream, todo);
}
