/* Runs a fuzz target over every file of the folders named, each in a block of exactly its size. Prints how many there
 * were; fails when there were none. */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "fuzz.h"

static char current[PATH_MAX];

static void on_crash(int signal_number)
{
    if (write(STDERR_FILENO, "\ncrashed on ", 12) < 0 || write(STDERR_FILENO, current, strlen(current)) < 0 ||
        write(STDERR_FILENO, "\n", 1) < 0)
        _exit(1);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        exit(1);
    long size = ftell(file);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    rewind(file);
    if (size < 0 || data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size)
        exit(1);
    fclose(file);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
}

static size_t run_folder(const char *folder)
{
    size_t files = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        perror(folder);
        exit(1);
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(current, sizeof(current), "%s/%s", folder, e->d_name);
        run_file(current);
        files++;
    }
    closedir(dir);
    return files;
}

int main(int argc, char **argv)
{
    size_t files = 0;
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    for (int i = 1; i < argc; i++)
        files += run_folder(argv[i]);
    printf("%s: %zu inputs\n", strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0], files);
    return files == 0;
}
