// Ends the program with code 78 on a processor that lacks instructions which the kernels were compiled for.
//
// It runs from .preinit_array, before any constructor, and is compiled for the architecture's baseline. Without it the
// program would die of SIGILL in the middle of a text.
#include <string.h>
#include <unistd.h>

struct feature { const char *name; int present; };

#if defined(__aarch64__)
#include <sys/auxv.h>
// Bits of AT_HWCAP and AT_HWCAP2: https://docs.kernel.org/arch/arm64/elf_hwcaps.html
static const struct { const char *name; int word; int bit; } known[] = {
    {"asimd", 0, 1},    {"crc32", 0, 7},    {"atomics", 0, 8}, {"fphp", 0, 9},  {"asimdhp", 0, 10},
    {"asimdrdm", 0, 12}, {"asimddp", 0, 20}, {"sve", 0, 22},    {"i8mm", 1, 13}, {"bf16", 1, 14},
};
#define KNOWN (sizeof known / sizeof *known)

static void detect(struct feature *found) {
    unsigned long words[2] = {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};
    for (unsigned at = 0; at < KNOWN; at++) {
        found[at].name = known[at].name;
        found[at].present = words[known[at].word] >> known[at].bit & 1;
    }
}
#elif defined(__x86_64__)
#define KNOWN 9

static void detect(struct feature *found) {
    __builtin_cpu_init();
    struct feature all[KNOWN] = {
        {"sse4_2", __builtin_cpu_supports("sse4.2")},     {"avx", __builtin_cpu_supports("avx")},
        {"f16c", __builtin_cpu_supports("f16c")},         {"avx2", __builtin_cpu_supports("avx2")},
        {"bmi2", __builtin_cpu_supports("bmi2")},         {"fma", __builtin_cpu_supports("fma")},
        {"avx512f", __builtin_cpu_supports("avx512f")},   {"avx512bw", __builtin_cpu_supports("avx512bw")},
        {"avx512_vnni", __builtin_cpu_supports("avx512vnni")},
    };
    memcpy(found, all, sizeof all);
}
#else
#error "the features of this architecture are not known here"
#endif

static void say(const char *text) {
    if (write(2, text, strlen(text)) < 0) _exit(78);
}

static int has(const struct feature *found, const char *name, size_t length) {
    for (unsigned at = 0; at < KNOWN; at++)
        if (strlen(found[at].name) == length && memcmp(found[at].name, name, length) == 0) return found[at].present;
    return 0;  // a name that is missing above: refused, so that the table is completed
}

static void check_processor(int count, char **arguments, char **environment) {
    (void) count, (void) arguments, (void) environment;
    struct feature found[KNOWN];
    detect(found);
    char missing[256] = "";
    for (const char *name = FEATURES; *name;) {
        size_t length = strcspn(name, " ");
        if (!has(found, name, length) && strlen(missing) + length + 2 < sizeof missing) {
            if (*missing) strcat(missing, ", ");
            strncat(missing, name, length);
        }
        name += length + (name[length] == ' ');
    }
    if (!*missing) return;
    say("edgehone-runner: this processor lacks ");
    say(missing);
    say(", which this program was built for (" MARCH "). It has:");
    for (unsigned at = 0; at < KNOWN; at++)
        if (found[at].present) say(" "), say(found[at].name);
    say(". Package the bundle again for this processor: --set cpu=…\n");
    _exit(78);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = check_processor;
