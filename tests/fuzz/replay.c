/*
 * replay - runs a fuzz target over inputs that are known: those of its corpus, or the files named
 * on the command line, as after a crash that `make fuzz` has found. The last line is "N passed, N
 * failed"; an input that breaks a rule ends the process, and is named in the line before.
 */
#include "fuzz.h"

#include <dirent.h>
#include <limits.h>

static int ran;

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    long size = ftell(file);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    rewind(file);
    if (size < 0 || data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        exit(1);
    }
    fclose(file);
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    ran++;
}

static void replay_folder(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0) {
        perror(folder);
        exit(1);
    }
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX + NAME_MAX + 2];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            replay_file(path);
        free(entries[i]);
    }
    free(entries);
}

/* A program BUILD/tests/fuzz/TARGET_test has its corpus in tests/fuzz/corpus/TARGET. */
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay_file(argv[i]);
    if (argc == 1) {
        const char *slash = strrchr(argv[0], '/');
        const char *name = slash != NULL ? slash + 1 : argv[0];
        char folder[PATH_MAX];
        snprintf(folder, sizeof folder, "tests/fuzz/corpus/%.*s", (int)strcspn(name, "_"), name);
        replay_folder(folder);
    }
    fflush(stderr);
    printf("%d passed, 0 failed\n", ran);
    return ran == 0;
}
