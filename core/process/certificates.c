/* certificates - see certificates.h. */
#include "process/certificates.h"

#include "tls/ktls.h"
#include "tls/pem.h"
#include "tls/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char message[1024];

/* --- writing --- */

static bool certificates_write(int out, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(out, bytes + done, size - done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Writes an entry whose names are those of `files` files, with what is in them. NULL, or the
 * error. */
static const char *certificates_add(int out, const struct plan_tls *line, int files)
{
    static char text[2][PEM_BYTES];
    char head[2 * TLS_NAME + 128];
    size_t sizes[2] = {0, 0};
    const char *names[2] = {line->first, line->second}, *bad = NULL;
    for (int i = 0; i < files && bad == NULL; i++) {
        bad = pem_read(names[i], text[i], &sizes[i]);
        if (bad != NULL)
            snprintf(message, sizeof message, "tls: %.600s can't be used: %s", names[i], bad);
    }
    int n = snprintf(head, sizeof head, "%u\t%s\t%s\t%s\t%zu\t%zu\n", line->number, line->key,
                     names[0], names[1], sizes[0], sizes[1]);
    off_t at = lseek(out, 0, SEEK_CUR);
    if (bad == NULL && (n >= (int)sizeof head || at > TLS_STORE_BYTES))
        bad = snprintf(message, sizeof message, "tls: there are too many certificates") > 0
                  ? message
                  : NULL;
    if (bad == NULL &&
        !(certificates_write(out, head, (size_t)n) && certificates_write(out, text[0], sizes[0]) &&
          certificates_write(out, text[1], sizes[1]))) {
        bad = strerror(errno);
        snprintf(message, sizeof message, "tls: no memory for the certificates: %s", bad);
    }
    explicit_bzero(text[0], sizes[0]);
    explicit_bzero(text[1], sizes[1]);
    return bad != NULL ? message : NULL;
}

static int certificates_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder that don't begin with a dot, sorted. Returns their number, or -1. */
static int certificates_list(const char *path, char **names, unsigned most)
{
    DIR *dir = opendir(path);
    unsigned count = 0;
    if (dir == NULL)
        return -1;
    for (struct dirent *entry; count < most && (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.' && (names[count++] = strdup(entry->d_name)) == NULL)
            abort();
    closedir(dir);
    qsort(names, count, sizeof *names, certificates_compare);
    return (int)count;
}

/* True for a name that would be read as a part of the file of certificates, which has tabs and
 * newlines between names. Who may make a folder may so not change what the listener asks for. */
static bool certificates_is_odd(const char *name)
{
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < ' ')
            return true;
    return false;
}

/* Writes the pairs of a folder: NAME/fullchain.pem with NAME/privkey.pem, as certbot has them. A
 * folder without both is none; a pair that can't be read is left out. */
static const char *certificates_add_folder(int out, const struct plan_tls *line, bool *found)
{
    static char *names[TLS_PAIRS];
    char first[PATH_MAX], second[PATH_MAX], key[] = "found";
    const char *err = NULL;
    int count = certificates_list(line->first, names, TLS_PAIRS), pairs = 0;
    if (count < 0) {
        snprintf(message, sizeof message, "tls: folder %.600s: %s", line->first, strerror(errno));
        return message;
    }
    for (int i = 0; i < count; i++) {
        snprintf(first, sizeof first, "%s/%s/fullchain.pem", line->first, names[i]);
        snprintf(second, sizeof second, "%s/%s/privkey.pem", line->first, names[i]);
        const struct plan_tls pair = {line->number, key, first, second};
        bool odd = certificates_is_odd(names[i]);
        if (odd)
            log_warn("tls: folder %.600s: a folder's name has a control character, and is left out",
                     line->first);
        bool there = !odd && access(first, F_OK) == 0 && access(second, F_OK) == 0;
        if (there && (err = certificates_add(out, &pair, 2)) != NULL)
            log_warn("%s", err);
        pairs += there && err == NULL;
        free(names[i]);
    }
    *found = pairs > 0;
    return NULL;
}

/* Whether there are certificates beside those of folders: pairs, or those of a script. */
static bool certificates_has_others(const struct plan *plan, unsigned number)
{
    for (unsigned i = 0; i < plan->tls_count; i++)
        if (plan->tls[i].number == number &&
            (strcmp(plan->tls[i].key, "pair") == 0 || strcmp(plan->tls[i].key, "hook") == 0))
            return true;
    return false;
}

static const char *certificates_add_line(int out, const struct plan *plan,
                                         const struct plan_tls *line)
{
    bool found = true;
    if (strcmp(line->key, "ktls") == 0 && ktls_problem() != NULL)
        return NULL;
    if (strcmp(line->key, "folder") != 0)
        return certificates_add(out, line,
                                strcmp(line->key, "pair") == 0        ? 2
                                : strcmp(line->key, "client_ca") == 0 ? 1
                                                                      : 0);
    const char *err = certificates_add_folder(out, line, &found);
    if (err != NULL || found || certificates_has_others(plan, line->number))
        return err;
    snprintf(message, sizeof message,
             "tls: folder %.600s: there is no NAME/fullchain.pem with a NAME/privkey.pem that can "
             "be read",
             line->first);
    return message;
}

const char *certificates_without_ktls(const struct plan *plan, unsigned *at)
{
    while (*at < plan->tls_count) {
        const struct plan_tls *line = &plan->tls[(*at)++];
        if (strcmp(line->key, "ktls") != 0 || strcmp(line->first, "asked") != 0 ||
            ktls_problem() == NULL)
            continue;
        snprintf(message, sizeof message,
                 "listen[%u]: tls: ktls = true, but %s. TLS is served without it", line->number,
                 ktls_problem());
        return message;
    }
    return NULL;
}

/* --- the state of folders --- */

static uint64_t certificates_mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * 0x9e3779b97f4a7c15u + (hash >> 29);
}

/* The state of a file: another inode, size or time is another state. */
static uint64_t certificates_state_of(const char *folder, const char *name, const char *file)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s/%s", folder, name, file);
    if (stat(path, &st) != 0)
        return 0;
    uint64_t hash = certificates_mix((uint64_t)st.st_ino, (uint64_t)st.st_size);
    hash = certificates_mix(hash, (uint64_t)st.st_mtim.tv_sec);
    return certificates_mix(hash, (uint64_t)st.st_mtim.tv_nsec) | 1;
}

/* The state of all folders of the plan. Their order is the directory's, so names are added up. */
static uint64_t certificates_state(const struct plan *plan, bool *any)
{
    uint64_t all = 0;
    *any = false;
    for (unsigned i = 0; i < plan->tls_count; i++) {
        const struct plan_tls *line = &plan->tls[i];
        DIR *dir = strcmp(line->key, "folder") == 0 ? opendir(line->first) : NULL;
        *any |= strcmp(line->key, "folder") == 0;
        for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
            if (e->d_name[0] == '.')
                continue;
            uint64_t cert = certificates_state_of(line->first, e->d_name, "fullchain.pem");
            uint64_t key = certificates_state_of(line->first, e->d_name, "privkey.pem");
            if (cert != 0 && key != 0)
                all += certificates_mix(certificates_mix(cert, key), i);
        }
        if (dir != NULL)
            closedir(dir);
    }
    return all;
}

const char *certificates_open(const struct plan *plan, int *file, uint64_t *folders)
{
    bool any;
    const char *err = NULL;
    *file = 0;
    *folders = certificates_state(plan, &any);
    if (plan->tls_count == 0)
        return NULL;
    int out = memfd_create("moongate-tls", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (out < 0) {
        snprintf(message, sizeof message, "tls: no file in memory: %s", strerror(errno));
        return message;
    }
    for (unsigned i = 0; i < plan->tls_count && err == NULL; i++)
        err = certificates_add_line(out, plan, &plan->tls[i]);
    if (err == NULL) {
        /* no worker can change what the others read */
        fcntl(out, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
        *file = out;
        return NULL;
    }
    close(out);
    return err;
}

/* --- changes of folders --- */

#define LOOK_PERIOD 1.0 /* seconds between two looks */

void certificates_watch_begin(struct certificates_watch *w, const struct plan *plan, uint64_t state,
                              double now)
{
    bool any;
    certificates_state(plan, &any);
    w->seen = w->used = state;
    w->look_at = any ? now + LOOK_PERIOD : 0;
}

bool certificates_watch_look(struct certificates_watch *w, const struct plan *plan, double now)
{
    bool any;
    if (w->look_at == 0 || now < w->look_at)
        return false;
    uint64_t state = certificates_state(plan, &any);
    bool settled = state == w->seen;
    w->seen = state;
    w->look_at = now + LOOK_PERIOD;
    if (!settled || state == w->used)
        return false;
    w->used = state;
    return true;
}
