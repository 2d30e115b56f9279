// A libnvidia-ml.so.1 without a GPU: two devices of which the second tells less, as small GPUs do.
// Everything is refused before nvmlInit_v2; structures and sizes are those of NVIDIA's nvml.h.
enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3 };
static int started;
static const int devices[2] = {7, 8};

int nvmlInit_v2(void) { return started = 1, SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned* count) { return started ? (*count = 2, SUCCESS) : UNINITIALIZED; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
    if (!started) return UNINITIALIZED;
    if (index > 1) return INVALID;
    return *device = (void*)&devices[index], SUCCESS;
}

static int check(const void* device) { return started && (device == &devices[0] || device == &devices[1]) ? SUCCESS : INVALID; }

int nvmlDeviceGetClockInfo(void* device, unsigned kind, unsigned* mhz) {
    if (check(device) || (kind != 1 && kind != 2)) return INVALID;
    return *mhz = kind == 1 ? 1980 : 2619, SUCCESS;
}

int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
    if (check(device)) return INVALID;
    if (device == &devices[1]) return NOT_SUPPORTED;
    return *milliwatts = 118250, SUCCESS;
}

int nvmlDeviceGetTemperature(void* device, unsigned sensor, unsigned* celsius) {
    if (check(device) || sensor != 0) return INVALID;
    return *celsius = 41, SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void* device, struct { unsigned gpu, memory; } * rates) {
    if (check(device)) return INVALID;
    return rates->gpu = 63, rates->memory = 12, SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void* device, struct { unsigned long long total, free, used; } * memory) {
    if (check(device)) return INVALID;
    memory->total = 1000000000ULL, memory->free = 400000000ULL, memory->used = 600000000ULL;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void* device, unsigned long long* reasons) {
    if (check(device)) return INVALID;
    return *reasons = device == &devices[0] ? 0x40 | 0x1 : 0x1 | 0x2, SUCCESS;  // heat; idle and the user's own clocks
}
