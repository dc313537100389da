/*
 * libnvidia-ml.so.1 for simulated GPUs: the NVML calls that Stoker's node agent makes, answered from a text file.
 *
 * The file is named by STOKER_GPUS_STATE, else it is gpus.state beside this library; gpus/state.py writes it and
 * describes it. It is read again whenever its inode, size or time changes, so a test changes a GPU while the agent
 * runs. A file that is broken or gone changes nothing: the last good state stays. What is not here is absent on
 * purpose: callers get "function not found", as from an older driver.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, RESET_REQUIRED = 16,
    VERSION_MISMATCH = 25, UNKNOWN = 999
};
enum { MAX_GPUS = 64, MAX_MIG = 7, MAX_CARDS = 1024, MAX_PROCESSES = 64, MAX_EVENTS = 64, MAX_SETS = 64, MAX_FILE = 256 * 1024 };
enum { FIELD_RECOVERY_ACTION = 230, VALUE_UNSIGNED_INT = 1, THRESHOLD_SHUTDOWN = 0, THRESHOLD_SLOWDOWN = 1 };
#define MEMORY_V2 0x02000028u
#define SUPPORTED_EVENTS (0x2ull | 0x8ull | 0x4000ull | 0x8000ull) /* double-bit ECC, XID, unavailable, recovery */
#define MAX_NUMBER (1ull << 40)
#define EXPORT __attribute__((visibility("default")))

typedef struct { uint64_t pid, used_mib; bool used_known; } process_t;
typedef struct { uint64_t seq, type, data; char uuid[96]; } event_t;
typedef struct { char uuid[96], profile[32]; uint64_t memory_mib, used_mib; } mig_t;
enum { NAME = 96 }; /* of a GPU; that of a MIG instance has its profile behind it */
typedef struct {
    char uuid[96], name[NAME + 40], unsupported[512];
    int error; /* what every call on this GPU answers; OK when it is well */
    uint64_t memory_mib, reserved_mib, used_mib, utilisation, ecc, row_remap_failure, recovery_action;
    uint64_t temperature, slowdown_temperature, clock_events, hang_ms, mig_mode;
    bool instance; /* a copy that stands for one MIG instance of the GPU */
    size_t processes, migs;
    mig_t mig[MAX_MIG];
    process_t process[MAX_PROCESSES];
} gpu_t;
typedef struct {
    char driver[80];
    size_t gpus, events;
    gpu_t gpu[MAX_GPUS];
    event_t event[MAX_EVENTS];
    uint64_t last_event;
} state_t;

/* A handle points to a card: one entry for each UUID ever seen, so that it never comes to mean another GPU. */
typedef struct { char uuid[96]; } card_t;
typedef struct { bool used; uint64_t seen; struct { uint64_t mask, since; } on[MAX_CARDS]; } event_set_t;

typedef struct { uint64_t total, free, used; } memory_t;
typedef struct { uint32_t version; uint64_t total, reserved, free, used; } memory_v2_t;
typedef struct { uint32_t gpu, memory; } utilization_t;
typedef struct { uint32_t pid; uint64_t used; uint32_t gpu_instance, compute_instance; } process_info_t;
typedef struct { card_t *device; uint64_t type, data; uint32_t gpu_instance, compute_instance; } event_data_t;
typedef struct {
    uint32_t field, scope;
    int64_t timestamp, latency_us;
    uint32_t value_type, answer;
    union { uint32_t unsigned_int; uint64_t all; } value;
} field_value_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users;
static bool loaded;
static char path[4096];
static struct stat read_as;
static state_t state, fresh; /* fresh: where a new file is parsed; too large for the stack of a small thread */
static card_t cards[MAX_CARDS];
static size_t card_count;
static event_set_t sets[MAX_SETS];

/* ---- the state file ---- */

static bool number(const char *text, uint64_t *out) {
    char *rest;
    errno = 0;
    if (*text < '0' || *text > '9') return false;
    unsigned long long value = strtoull(text, &rest, 10);
    if (errno || *rest || value > MAX_NUMBER) return false;
    *out = value;
    return true;
}

static bool word(char *out, size_t size, const char *text) {
    size_t length = strlen(text);
    if (length == 0 || length >= size) return false;
    memcpy(out, text, length + 1);
    return true;
}

static bool health(gpu_t *gpu, const char *text) {
    static const struct { const char *name; int error; } known[] = {
        {"ok", OK}, {"lost", GPU_IS_LOST}, {"reset-required", RESET_REQUIRED}, {"no-permission", NO_PERMISSION},
        {"unknown", UNKNOWN},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(text, known[i].name)) { gpu->error = known[i].error; return true; }
    return false;
}

static bool process(gpu_t *gpu, char *text) { /* PID MIB, or PID - where the driver does not tell how much */
    char *used = strchr(text, ' ');
    if (!used || gpu->processes == MAX_PROCESSES) return false;
    *used++ = 0;
    process_t *one = &gpu->process[gpu->processes++];
    one->used_known = strcmp(used, "-") != 0;
    return number(text, &one->pid) && (!one->used_known || number(used, &one->used_mib));
}

static bool mig(gpu_t *gpu, char *text) { /* UUID PROFILE MIB USED-MIB */
    char *part[4], *rest = text;
    for (int i = 0; i < 4; i++)
        if (!(part[i] = strsep(&rest, " "))) return false;
    if (rest || gpu->migs == MAX_MIG) return false;
    mig_t *one = &gpu->mig[gpu->migs++];
    return word(one->uuid, sizeof one->uuid, part[0]) && word(one->profile, sizeof one->profile, part[1]) &&
           number(part[2], &one->memory_mib) && number(part[3], &one->used_mib);
}

static bool event(state_t *to, char *text) { /* NUMBER UUID TYPE DATA */
    char *part[4], *rest = text;
    for (int i = 0; i < 4; i++)
        if (!(part[i] = strsep(&rest, " "))) return false;
    if (rest || to->events == MAX_EVENTS) return false;
    event_t *one = &to->event[to->events++];
    if (!number(part[0], &one->seq) || !word(one->uuid, sizeof one->uuid, part[1]) || !number(part[2], &one->type) ||
        !number(part[3], &one->data) || one->seq <= to->last_event)
        return false;
    to->last_event = one->seq;
    return true;
}

static bool gpu_line(gpu_t *gpu, const char *key, char *value) {
    const struct { const char *name; uint64_t *to; } numbers[] = {
        {"memory-mib", &gpu->memory_mib}, {"reserved-mib", &gpu->reserved_mib}, {"used-mib", &gpu->used_mib},
        {"utilisation", &gpu->utilisation}, {"ecc", &gpu->ecc}, {"row-remap-failure", &gpu->row_remap_failure},
        {"recovery-action", &gpu->recovery_action}, {"temperature", &gpu->temperature},
        {"slowdown-temperature", &gpu->slowdown_temperature}, {"clock-events", &gpu->clock_events},
        {"hang-ms", &gpu->hang_ms}, {"mig-mode", &gpu->mig_mode},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(key, numbers[i].name)) return number(value, numbers[i].to);
    if (!strcmp(key, "name")) return word(gpu->name, NAME, value);
    if (!strcmp(key, "health")) return health(gpu, value);
    if (!strcmp(key, "process")) return process(gpu, value);
    if (!strcmp(key, "mig")) return mig(gpu, value);
    if (!strcmp(key, "unsupported")) return word(gpu->unsupported, sizeof gpu->unsupported, value);
    return true; /* the device plugin's, or newer than this library */
}

/* Whether no GPU and no earlier instance has the UUID of instance `at` of GPU `of`. */
static bool unique(const state_t *all, size_t of, size_t at) {
    const char *uuid = all->gpu[of].mig[at].uuid;
    for (size_t i = 0; i < all->gpus; i++) {
        if (!strcmp(all->gpu[i].uuid, uuid)) return false;
        for (size_t j = 0; j < all->gpu[i].migs && (i < of || (i == of && j < at)); j++)
            if (!strcmp(all->gpu[i].mig[j].uuid, uuid)) return false;
    }
    return true;
}

/* True when the text is a whole, well-formed state; `to` is garbage otherwise. */
static bool parse(char *text, state_t *to) {
    gpu_t *gpu = NULL;
    bool first = true, ended = false;
    memset(to, 0, sizeof *to);
    strcpy(to->driver, "simulated");
    for (char *line, *rest = text; (line = strsep(&rest, "\n"));) {
        line += strspn(line, " \t");
        if (*line == 0 || *line == '#') continue;
        if (ended) return false;
        char *value = strchr(line, ' ');
        if (value) *value++ = 0; else value = line + strlen(line);
        if (first) {
            if (strcmp(line, "simulated-gpus") || strcmp(value, "1")) return false;
            first = false;
        } else if (!strcmp(line, "end")) {
            ended = true;
        } else if (!strcmp(line, "gpu")) {
            if (to->gpus == MAX_GPUS) return false;
            gpu = &to->gpu[to->gpus++];
            if (!word(gpu->uuid, sizeof gpu->uuid, value)) return false;
            for (gpu_t *other = to->gpu; other < gpu; other++)
                if (!strcmp(other->uuid, gpu->uuid)) return false;
        } else if (!strcmp(line, "event")) {
            if (!event(to, value)) return false;
        } else if (gpu ? !gpu_line(gpu, line, value)
                       : !strcmp(line, "driver") && !word(to->driver, sizeof to->driver, value)) {
            return false;
        }
    }
    for (size_t i = 0; i < to->gpus; i++)
        for (size_t j = 0; j < to->gpu[i].migs; j++)
            if (!unique(to, i, j)) return false;
    for (size_t i = 0; i < to->gpus; i++)
        if (!*to->gpu[i].name || to->gpu[i].reserved_mib > to->gpu[i].memory_mib) return false;
    return ended;
}

static const mig_t *instance_of(const gpu_t *gpu, const char *uuid) {
    for (size_t i = 0; gpu->mig_mode && i < gpu->migs; i++)
        if (!strcmp(gpu->mig[i].uuid, uuid)) return &gpu->mig[i];
    return NULL;
}

/* What is left of a copy of a GPU for one of its instances: how it fares is the GPU's, what it has is its own. */
static void narrow(gpu_t *gpu, const mig_t *one) {
    strcpy(gpu->uuid, one->uuid);
    strcat(strcat(gpu->name, " MIG "), one->profile);
    gpu->instance = true;
    gpu->memory_mib = one->memory_mib;
    gpu->used_mib = one->used_mib;
    gpu->reserved_mib = gpu->processes = 0;
}

static card_t *card_of(const char *uuid) {
    for (size_t i = 0; i < card_count; i++)
        if (!strcmp(cards[i].uuid, uuid)) return &cards[i];
    if (card_count == MAX_CARDS) return NULL;
    strcpy(cards[card_count].uuid, uuid); /* both are char[96] */
    return &cards[card_count++];
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Takes up the file if it changed. Called with the lock held. */
static void refresh(void) {
    struct stat now;
    if (stat(path, &now) || same_file(&now, &read_as)) return;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return;
    char *text = NULL;
    if (!fstat(file, &now) && S_ISREG(now.st_mode) && now.st_size > 0 && now.st_size <= MAX_FILE &&
        (text = malloc((size_t)now.st_size + 1))) {
        ssize_t length = read(file, text, (size_t)now.st_size);
        if (length == now.st_size && !memchr(text, 0, (size_t)length)) {
            text[length] = 0;
            if (parse(text, &fresh)) {
                state = fresh;
                loaded = true;
                for (size_t i = 0; i < state.gpus; i++) {
                    card_of(state.gpu[i].uuid);
                    for (size_t j = 0; j < state.gpu[i].migs; j++) card_of(state.gpu[i].mig[j].uuid);
                }
            }
        }
        read_as = now; /* a bad one too: it is not parsed again before it changes */
    }
    free(text);
    close(file);
}

/* ---- answering calls ---- */

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static bool listed(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == 0)) return true;
    return false;
}

static bool is_card(const card_t *device) {
    return device >= cards && device < cards + card_count && ((const char *)device - (const char *)cards) % sizeof *cards == 0;
}

/* A copy of the GPU of a handle, or why the call cannot be answered. While the GPU is told to hang it naps outside the
 * lock and looks again, so that the state file can end a hang too. */
static int enter(const card_t *device, const char *call, gpu_t *out) {
    int64_t began = now_ms();
    for (;;) {
        int answer = OK;
        uint64_t hang_ms = 0;
        pthread_mutex_lock(&lock);
        refresh();
        if (!users) answer = UNINITIALIZED;
        else if (!is_card(device)) answer = INVALID_ARGUMENT;
        else {
            answer = GPU_IS_LOST;
            for (size_t i = 0; i < state.gpus; i++) {
                gpu_t *gpu = &state.gpu[i];
                const mig_t *one = instance_of(gpu, device->uuid);
                if (strcmp(gpu->uuid, device->uuid) && !one) continue;
                *out = *gpu;
                if (one) narrow(out, one);
                hang_ms = gpu->hang_ms;
                answer = gpu->error ? gpu->error : listed(gpu->unsupported, call) ? NOT_SUPPORTED : OK;
            }
        }
        pthread_mutex_unlock(&lock);
        if (hang_ms <= (uint64_t)(now_ms() - began)) return answer;
        sleep_ms(10);
    }
}

#define ENTER(device) \
    gpu_t gpu; \
    int entered = enter(device, __func__, &gpu); \
    if (entered) return entered

/* For calls that know whole GPUs only. */
#define ENTER_GPU(device) \
    ENTER(device); \
    if (gpu.instance) return NOT_SUPPORTED

static int give(char *out, unsigned size, const char *text) {
    if (!out) return INVALID_ARGUMENT;
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return OK;
}

EXPORT int nvmlInitWithFlags(unsigned flags) {
    Dl_info self;
    int answer = OK;
    (void)flags;
    pthread_mutex_lock(&lock);
    if (!users) {
        const char *named = getenv("STOKER_GPUS_STATE"), *slash = NULL;
        if (named && *named) snprintf(path, sizeof path, "%s", named);
        else if (dladdr((void *)&nvmlInitWithFlags, &self) && (slash = strrchr(self.dli_fname, '/')))
            snprintf(path, sizeof path, "%.*s/gpus.state", (int)(slash - self.dli_fname), self.dli_fname);
        else snprintf(path, sizeof path, "gpus.state");
        loaded = false;
        memset(&read_as, 0, sizeof read_as);
    }
    refresh();
    if (loaded) users++;
    else answer = DRIVER_NOT_LOADED;
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    int answer = users ? OK : UNINITIALIZED;
    if (users) users--;
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT const char *nvmlErrorString(int error) {
    switch (error) {
    case OK: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case RESET_REQUIRED: return "GPU requires reset";
    case VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    pthread_mutex_lock(&lock);
    refresh();
    int answer = users ? give(out, size, state.driver) : UNINITIALIZED;
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!count) return INVALID_ARGUMENT;
    pthread_mutex_lock(&lock);
    refresh();
    *count = (unsigned)state.gpus;
    int answer = users ? OK : UNINITIALIZED;
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, card_t **device) {
    if (!device) return INVALID_ARGUMENT;
    int answer = INVALID_ARGUMENT;
    pthread_mutex_lock(&lock);
    refresh();
    if (!users) answer = UNINITIALIZED;
    else if (index < state.gpus)
        answer = state.gpu[index].error == NO_PERMISSION                  ? NO_PERMISSION
                 : (*device = card_of(state.gpu[index].uuid)) ? OK : UNKNOWN;
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, card_t **device) {
    if (!uuid || !device) return INVALID_ARGUMENT;
    pthread_mutex_lock(&lock);
    refresh();
    int answer = users ? NOT_FOUND : UNINITIALIZED;
    for (size_t i = 0; users && i < state.gpus; i++)
        if (!strcmp(state.gpu[i].uuid, uuid))
            answer = state.gpu[i].error == NO_PERMISSION ? NO_PERMISSION : (*device = card_of(uuid)) ? OK : UNKNOWN;
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlDeviceGetUUID(card_t *device, char *out, unsigned size) {
    ENTER(device);
    return give(out, size, gpu.uuid);
}

EXPORT int nvmlDeviceGetName(card_t *device, char *out, unsigned size) {
    ENTER(device);
    return give(out, size, gpu.name);
}

/* Processes never hold more than there is, whatever a test wrote. */
static uint64_t used_bytes(const gpu_t *gpu) {
    uint64_t usable = gpu->memory_mib - gpu->reserved_mib;
    return (gpu->used_mib < usable ? gpu->used_mib : usable) << 20;
}

/* That of a GPU in MIG mode is told to privileged processes only. */
static bool sum_of_instances(const gpu_t *gpu) { return gpu->mig_mode && !gpu->instance; }

EXPORT int nvmlDeviceGetMemoryInfo(card_t *device, memory_t *out) {
    ENTER(device);
    if (!out) return INVALID_ARGUMENT;
    if (sum_of_instances(&gpu)) return NO_PERMISSION;
    out->total = gpu.memory_mib << 20;
    out->used = used_bytes(&gpu) + (gpu.reserved_mib << 20); /* the first version counts the driver's share as used */
    out->free = out->total - out->used;
    return OK;
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(card_t *device, memory_v2_t *out) {
    ENTER(device);
    if (!out) return INVALID_ARGUMENT;
    if (sum_of_instances(&gpu)) return NO_PERMISSION;
    if (out->version != MEMORY_V2) return VERSION_MISMATCH;
    out->total = gpu.memory_mib << 20;
    out->reserved = gpu.reserved_mib << 20;
    out->used = used_bytes(&gpu);
    out->free = out->total - out->reserved - out->used;
    return OK;
}

EXPORT int nvmlDeviceGetUtilizationRates(card_t *device, utilization_t *out) {
    ENTER_GPU(device);
    if (!out) return INVALID_ARGUMENT;
    if (gpu.mig_mode) return NOT_SUPPORTED;
    out->gpu = (uint32_t)gpu.utilisation;
    out->memory = gpu.memory_mib ? (uint32_t)((used_bytes(&gpu) >> 20) * 100 / gpu.memory_mib) : 0;
    return OK;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(card_t *device, unsigned *count, process_info_t *out) {
    ENTER(device);
    if (!count) return INVALID_ARGUMENT;
    unsigned room = *count;
    *count = (unsigned)gpu.processes;
    if (room < gpu.processes) return INSUFFICIENT_SIZE;
    if (gpu.processes && !out) return INVALID_ARGUMENT;
    for (size_t i = 0; i < gpu.processes; i++) {
        uint64_t used = gpu.process[i].used_known ? gpu.process[i].used_mib << 20 : UINT64_MAX;
        out[i] = (process_info_t){(uint32_t)gpu.process[i].pid, used, UINT32_MAX, UINT32_MAX};
    }
    return OK;
}

EXPORT int nvmlDeviceGetTemperature(card_t *device, unsigned sensor, unsigned *out) {
    ENTER_GPU(device);
    if (sensor || !out) return INVALID_ARGUMENT;
    *out = (unsigned)gpu.temperature;
    return OK;
}

EXPORT int nvmlDeviceGetTemperatureThreshold(card_t *device, unsigned threshold, unsigned *out) {
    ENTER_GPU(device);
    if (!out) return INVALID_ARGUMENT;
    if (threshold > THRESHOLD_SLOWDOWN) return NOT_SUPPORTED;
    *out = (unsigned)gpu.slowdown_temperature + (threshold == THRESHOLD_SHUTDOWN ? 3 : 0);
    return OK;
}

EXPORT int nvmlDeviceGetCurrentClocksEventReasons(card_t *device, unsigned long long *out) {
    ENTER_GPU(device);
    if (!out) return INVALID_ARGUMENT;
    *out = gpu.clock_events;
    return OK;
}

EXPORT int nvmlDeviceGetFieldValues(card_t *device, int count, field_value_t *values) {
    ENTER_GPU(device);
    if (count <= 0 || !values) return INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) {
        values[i].answer = values[i].field == FIELD_RECOVERY_ACTION ? OK : NOT_SUPPORTED;
        values[i].value_type = VALUE_UNSIGNED_INT;
        values[i].value.all = 0;
        values[i].value.unsigned_int = (uint32_t)gpu.recovery_action;
    }
    return OK;
}

EXPORT int nvmlDeviceGetTotalEccErrors(card_t *device, unsigned kind, unsigned counter, unsigned long long *out) {
    ENTER_GPU(device);
    if (!out || counter > 1) return INVALID_ARGUMENT;
    *out = kind == 1 ? gpu.ecc : 0; /* uncorrected ones only */
    return OK;
}

EXPORT int nvmlDeviceGetRemappedRows(card_t *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                                     unsigned *failure) {
    ENTER_GPU(device);
    if (!corrected || !uncorrected || !pending || !failure) return INVALID_ARGUMENT;
    *corrected = *uncorrected = *pending = 0;
    *failure = gpu.row_remap_failure != 0;
    return OK;
}

/* ---- MIG ---- */

EXPORT int nvmlDeviceGetMigMode(card_t *device, unsigned *current, unsigned *pending) {
    ENTER_GPU(device);
    if (!current || !pending) return INVALID_ARGUMENT;
    *current = *pending = gpu.mig_mode != 0;
    return OK;
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(card_t *device, unsigned *count) {
    ENTER_GPU(device);
    if (!count) return INVALID_ARGUMENT;
    *count = gpu.mig_mode ? MAX_MIG : 0;
    return OK;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(card_t *device, unsigned index, card_t **out) {
    ENTER_GPU(device);
    if (!out || index >= MAX_MIG) return INVALID_ARGUMENT;
    if (!gpu.mig_mode || index >= gpu.migs) return NOT_FOUND;
    pthread_mutex_lock(&lock);
    *out = card_of(gpu.mig[index].uuid);
    pthread_mutex_unlock(&lock);
    return *out ? OK : UNKNOWN;
}

/* ---- events ---- */

static bool is_set(const event_set_t *set) {
    return set >= sets && set < sets + MAX_SETS && ((const char *)set - (const char *)sets) % sizeof *sets == 0 && set->used;
}

EXPORT int nvmlDeviceGetSupportedEventTypes(card_t *device, unsigned long long *out) {
    ENTER_GPU(device);
    if (!out) return INVALID_ARGUMENT;
    *out = SUPPORTED_EVENTS;
    return OK;
}

EXPORT int nvmlEventSetCreate(event_set_t **out) {
    int answer = UNKNOWN;
    if (!out) return INVALID_ARGUMENT;
    pthread_mutex_lock(&lock);
    if (!users) answer = UNINITIALIZED;
    for (event_set_t *set = sets; users && set < sets + MAX_SETS; set++) {
        if (set->used) continue;
        memset(set, 0, sizeof *set);
        set->used = true;
        *out = set;
        answer = OK;
        break;
    }
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlEventSetFree(event_set_t *set) {
    pthread_mutex_lock(&lock);
    int answer = is_set(set) ? OK : INVALID_ARGUMENT;
    if (!answer) set->used = false;
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlDeviceRegisterEvents(card_t *device, unsigned long long types, event_set_t *set) {
    ENTER_GPU(device);
    if (types & ~SUPPORTED_EVENTS) return NOT_SUPPORTED;
    pthread_mutex_lock(&lock);
    int answer = is_set(set) ? OK : INVALID_ARGUMENT;
    if (!answer) {
        set->on[device - cards].mask |= types;
        set->on[device - cards].since = state.last_event; /* what happened before is not told */
    }
    pthread_mutex_unlock(&lock);
    return answer;
}

EXPORT int nvmlEventSetWait_v2(event_set_t *set, event_data_t *out, unsigned timeout_ms) {
    int64_t until = now_ms() + timeout_ms;
    if (!out) return INVALID_ARGUMENT;
    for (;;) {
        int answer = TIMEOUT;
        pthread_mutex_lock(&lock);
        refresh();
        if (!users) answer = UNINITIALIZED;
        else if (!is_set(set)) answer = INVALID_ARGUMENT;
        else {
            if (set->seen > state.last_event) { /* a new file counts from one again */
                set->seen = 0;
                for (size_t i = 0; i < MAX_CARDS; i++) set->on[i].since = 0;
            }
            for (size_t i = 0; i < state.events && answer == TIMEOUT; i++) {
                const event_t *one = &state.event[i];
                card_t *card = card_of(one->uuid);
                if (one->seq <= set->seen) continue;
                set->seen = one->seq;
                if (!card || one->seq <= set->on[card - cards].since || !(set->on[card - cards].mask & one->type)) continue;
                *out = (event_data_t){card, one->type, one->data, UINT32_MAX, UINT32_MAX};
                answer = OK;
            }
        }
        pthread_mutex_unlock(&lock);
        if (answer != TIMEOUT || now_ms() >= until) return answer;
        sleep_ms(10);
    }
}
