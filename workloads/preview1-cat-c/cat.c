/* An ordinary C program: copies standard input, or the files named as arguments, to standard
 * output. Built with Debian's clang and wasi-libc as a preview-1 core module. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int copy(FILE *input, const char *name) {
    static char buffer[64 * 1024];
    size_t length;
    while ((length = fread(buffer, 1, sizeof buffer, input)) > 0) {
        if (fwrite(buffer, 1, length, stdout) != length) {
            fprintf(stderr, "cat: cannot write: %s\n", strerror(errno));
            return 1;
        }
    }
    if (ferror(input)) {
        fprintf(stderr, "cat: cannot read %s: %s\n", name, strerror(errno));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0;
    if (argc < 2) failed = copy(stdin, "standard input");
    for (int index = 1; index < argc; index++) {
        FILE *input = fopen(argv[index], "rb");
        if (input == NULL) {
            fprintf(stderr, "cat: cannot open %s: %s\n", argv[index], strerror(errno));
            failed = 1;
            continue;
        }
        failed |= copy(input, argv[index]);
        fclose(input);
    }
    if (fflush(stdout) != 0) failed = 1;
    return failed;
}
