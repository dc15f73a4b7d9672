/* store - see store.h. */
#include "tls/store.h"

#include "tls/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* One entry of the file. */
struct store_entry {
    unsigned server;
    char key[16], names[2][TLS_NAME];
    struct str bytes[2];
};

/* A server that is being made. */
struct store_draft {
    struct tls_settings settings;
    char *ciphers, *client_ca_source;
    struct certificate **list;
    unsigned count;
    bool used;
};

static bool store_next(struct str *file, struct store_entry *e)
{
    unsigned long long sizes[2];
    char line[2 * TLS_NAME + 128];
    struct str first = str_cut(file, '\n');
    if (first.p == NULL || first.n == 0 || first.n >= sizeof line)
        return false;
    memcpy(line, first.p, first.n);
    line[first.n] = '\0';
    char *at = line, *fields[6];
    for (int i = 0; i < 6; i++)
        if ((fields[i] = strsep(&at, "\t")) == NULL)
            return false;
    e->server = (unsigned)atoi(fields[0]);
    snprintf(e->key, sizeof e->key, "%s", fields[1]);
    for (int i = 0; i < 2; i++) {
        snprintf(e->names[i], sizeof e->names[i], "%s", fields[2 + i]);
        sizes[i] = strtoull(fields[4 + i], NULL, 10);
        if (sizes[i] > file->n)
            return false;
        e->bytes[i] = (struct str){file->p, (size_t)sizes[i]};
        *file = str_skip(*file, (size_t)sizes[i]);
    }
    return e->server >= 1 && e->server <= TLS_SERVERS;
}

static struct certificate *store_find(const struct tls_store *before, unsigned number,
                                      const char *source)
{
    const struct tls_server *s = before != NULL ? tls_store_server(before, number) : NULL;
    for (unsigned i = 0; s != NULL && i < s->certificate_count; i++)
        if (strcmp(s->certificates[i]->source, source) == 0)
            return certificate_hold(s->certificates[i]);
    return NULL;
}

static void store_add_pair(struct store_draft *draft, struct certificate *c)
{
    if (draft->count % 64 == 0) {
        draft->list = realloc(draft->list, (draft->count + 64) * sizeof(struct certificate *));
        if (draft->list == NULL)
            abort();
    }
    draft->list[draft->count++] = c;
}

/* The certificate of the same texts that serves already, most likely at the same place. */
static struct certificate *store_find_unchanged(const struct tls_store *before,
                                                const struct store_entry *e, unsigned place)
{
    const struct tls_server *s = before != NULL ? tls_store_server(before, e->server) : NULL;
    uint8_t digest[32];
    if (s == NULL || s->certificate_count == 0)
        return NULL;
    certificate_digest(e->bytes[0], e->bytes[1], digest);
    for (unsigned i = 0; i < s->certificate_count; i++) {
        struct certificate *c = s->certificates[(place + i) % s->certificate_count];
        if (memcmp(c->digest, digest, sizeof digest) == 0 && strcmp(c->source, e->names[0]) == 0)
            return certificate_hold(c);
    }
    return NULL;
}

/* A pair. NULL, or the error; a folder's pair is none. */
static const char *store_read_pair(struct store_draft *draft, const struct store_entry *e,
                                   const struct tls_store *before, void (*warn)(const char *text))
{
    const char *err;
    if (draft->count == TLS_PAIRS)
        return tls_error("more than %d certificates for one listener", TLS_PAIRS);
    struct certificate *c = store_find_unchanged(before, e, draft->count);
    if (c != NULL) {
        store_add_pair(draft, c);
        return NULL;
    }
    c = certificate_new(e->bytes[0], e->bytes[1], e->names[0], e->names[1], &err);
    bool found = strcmp(e->key, "found") == 0;
    if (c == NULL && !found)
        return err;
    if (c == NULL) {
        warn(err);
        c = store_find(before, e->server, e->names[0]);
    }
    if (c != NULL)
        store_add_pair(draft, c);
    return NULL;
}

static const char *store_read(struct store_draft *draft, const struct store_entry *e,
                              const struct tls_store *before, void (*warn)(const char *text))
{
    const char *value = e->names[0];
    draft->used = true;
    if (strcmp(e->key, "versions") == 0) {
        draft->settings.tls12 = strstr(value, "1.2") != NULL;
        draft->settings.tls13 = strstr(value, "1.3") != NULL;
    } else if (strcmp(e->key, "ciphers") == 0) {
        free(draft->ciphers);
        draft->ciphers = strdup(value);
        draft->settings.ciphers = draft->ciphers;
#ifdef MG_HTTP2
    } else if (strcmp(e->key, "http2") == 0) {
        draft->settings.http2 = true;
#endif
    } else if (strcmp(e->key, "hook") == 0) {
        draft->settings.asks = true;
    } else if (strcmp(e->key, "ktls") == 0) {
        draft->settings.ktls = true;
    } else if (strcmp(e->key, "verify") == 0) {
        draft->settings.verify =
            strcmp(value, "required") == 0 ? TLS_VERIFY_REQUIRED : TLS_VERIFY_OPTIONAL;
    } else if (strcmp(e->key, "client_ca") == 0) {
        free(draft->client_ca_source);
        draft->client_ca_source = strdup(value);
        draft->settings.client_ca_source = draft->client_ca_source;
        draft->settings.client_ca = e->bytes[0];
    } else if (strcmp(e->key, "pair") == 0 || strcmp(e->key, "found") == 0) {
        return store_read_pair(draft, e, before, warn);
    }
    return NULL;
}

static void store_free_draft(struct store_draft *draft)
{
    for (unsigned i = 0; i < draft->count; i++)
        certificate_drop(draft->list[i]);
    free(draft->list);
    free(draft->ciphers);
    free(draft->client_ca_source);
}

static const char *store_finish(struct store_draft *draft, struct tls_server **out)
{
    const char *err;
    *out = tls_server_new(&draft->settings, &err);
    return *out != NULL ? tls_server_use(*out, draft->list, draft->count) : err;
}

static const char *store_fill(struct tls_store *store, struct str file,
                              const struct tickets *tickets, const struct tls_store *before,
                              void (*warn)(const char *text))
{
    static struct store_draft drafts[TLS_SERVERS];
    struct store_entry *e = malloc(sizeof *e);
    const char *err = NULL;
    if (e == NULL)
        abort();
    for (unsigned i = 0; i < TLS_SERVERS; i++)
        drafts[i] =
            (struct store_draft){.settings = {.tls12 = true, .tls13 = true, .tickets = tickets}};
    while (err == NULL && file.n > 0 && file.p != NULL)
        err = store_next(&file, e) ? store_read(&drafts[e->server - 1], e, before, warn)
                                   : "the certificates of the master can't be read";
    for (unsigned i = 0; i < TLS_SERVERS; i++) {
        if (err == NULL && drafts[i].used)
            err = store_finish(&drafts[i], &store->servers[i]);
        store_free_draft(&drafts[i]);
    }
    free(e);
    return err;
}

struct tls_store *tls_store_new(int file, const struct tickets *tickets,
                                const struct tls_store *before, void (*warn)(const char *text),
                                const char **err)
{
    struct tls_store *store = calloc(1, sizeof *store);
    struct stat st = {.st_size = 0};
    if (store == NULL)
        abort();
    *err = NULL;
    if (file <= 0 || fstat(file, &st) != 0 || st.st_size == 0)
        return store;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED) {
        *err = "no memory for the certificates";
    } else {
        struct str text = {bytes, (size_t)st.st_size};
        *err = store_fill(store, text, tickets, before, warn);
        munmap(bytes, (size_t)st.st_size);
    }
    if (*err == NULL)
        return store;
    tls_store_free(store);
    return NULL;
}

void tls_store_free(struct tls_store *store)
{
    if (store == NULL)
        return;
    for (unsigned i = 0; i < TLS_SERVERS; i++)
        tls_server_drop(store->servers[i]);
    free(store);
}

struct tls_server *tls_store_server(const struct tls_store *store, unsigned number)
{
    return number >= 1 && number <= TLS_SERVERS ? store->servers[number - 1] : NULL;
}

void tls_store_check(const struct tls_store *store,
                     void (*report)(void *ctx, const char *text, bool certain), void *ctx)
{
    for (unsigned i = 0; i < TLS_SERVERS; i++) {
        const struct tls_server *s = store->servers[i];
        for (unsigned j = 0; s != NULL && j < s->certificate_count; j++) {
            bool certain;
            const char *problem = certificate_problem(s->certificates[j], &certain);
            if (problem != NULL)
                report(ctx, problem, certain);
        }
    }
}
