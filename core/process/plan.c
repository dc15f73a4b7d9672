/* plan - see plan.h. */
#include "process/plan.h"

#include "front/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void plan_add_listener(struct plan *plan, struct listen_spec spec)
{
    if (plan->listen_count == PLAN_LISTENERS)
        return;
    spec.address = strdup(spec.address);
    spec.given = spec.given != NULL ? strdup(spec.given) : NULL;
    spec.name = strdup(spec.name);
    plan->listen[plan->listen_count++] = spec;
}

void plan_listen(struct plan *plan, const struct listen_spec *given)
{
    struct listen_spec spec = *given;
    bool is_name = false;
    for (unsigned i = 0; i < plan->address_count; i++) {
        if (strcmp(plan->addresses[i].given, given->address) != 0)
            continue;
        is_name = true;
        spec.address = plan->addresses[i].address;
        spec.given = given->address;
        spec.name = given->name[0] != '\0' ? given->name : given->address;
        plan_add_listener(plan, spec);
    }
    if (!is_name)
        plan_add_listener(plan, spec);
}

static void plan_add_address(struct plan *plan, const char *given, const char *address)
{
    struct plan_address *list =
        realloc(plan->addresses, (plan->address_count + 1) * sizeof *plan->addresses);
    if (list == NULL)
        abort();
    plan->addresses = list;
    list[plan->address_count++] =
        (struct plan_address){.given = strdup(given), .address = strdup(address)};
}

static void plan_add_tls(struct plan *plan, char *const *fields)
{
    struct plan_tls *list = realloc(plan->tls, (plan->tls_count + 1) * sizeof *plan->tls);
    if (list == NULL)
        abort();
    plan->tls = list;
    list[plan->tls_count++] = (struct plan_tls){.number = (unsigned)atoi(fields[0]),
                                                .key = strdup(fields[1]),
                                                .first = strdup(fields[2]),
                                                .second = strdup(fields[3])};
}

static void plan_copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

/* Reads a line whose value is the whole rest, tabs included. True: the line was of this kind. */
static bool plan_read_text(struct plan *plan, const char *key, const char *rest)
{
    char **text = strcmp(key, "ini") == 0      ? &plan->ini
                  : strcmp(key, "note") == 0   ? &plan->note
                  : strcmp(key, "format") == 0 ? &plan->format
                                               : NULL;
    if (text != NULL && *text == NULL)
        *text = strdup(rest);
    return text != NULL;
}

/* A syslog server that is given by a name has the address that the loader has found. */
static void plan_read_target(const struct plan *plan, char out[PLAN_TARGET], const char *text)
{
    const char *given = strrchr(text, ' ');
    const char *address = NULL;
    for (unsigned i = 0; given != NULL && address == NULL && i < plan->address_count; i++)
        if (strcmp(plan->addresses[i].given, given + 1) == 0)
            address = plan->addresses[i].address;
    if (address != NULL)
        snprintf(out, PLAN_TARGET, "%.*s%s", (int)(given + 1 - text), text, address);
    else
        plan_copy(out, PLAN_TARGET, text);
}

static void plan_read_line(struct plan *plan, const char *key, char *rest)
{
    char *fields[7] = {"", "", "", "", "", "", ""};
    for (int i = 0; i < 7 && rest != NULL; i++)
        fields[i] = strsep(&rest, "\t");
    if (strcmp(key, "address") == 0) {
        plan_add_address(plan, fields[0], fields[1]);
    } else if (strcmp(key, "listen") == 0) {
        const struct protocol *protocol = protocol_find(fields[1]);
        if (protocol == NULL) /* unknown protocol */
            return;
        plan_listen(plan, &(struct listen_spec){.address = fields[0],
                                                .protocol = protocol,
                                                .backlog = atoi(fields[2]),
                                                .name = fields[3],
                                                .proxy_protocol = fields[4][0] == '1',
                                                .h2c = fields[5][0] == '1',
                                                .tls = (unsigned)atoi(fields[6])});
    } else if (strcmp(key, "tls") == 0) {
        plan_add_tls(plan, fields);
    } else if (strcmp(key, "workers") == 0) {
        plan->workers = (unsigned)atoi(fields[0]);
    } else if (strcmp(key, "user") == 0) {
        plan_copy(plan->user, sizeof plan->user, fields[0]);
    } else if (strcmp(key, "group") == 0) {
        plan_copy(plan->group, sizeof plan->group, fields[0]);
    } else if (strcmp(key, "control") == 0) {
        plan_copy(plan->control, sizeof plan->control, fields[0]);
    } else if (strcmp(key, "token") == 0) {
        plan_copy(plan->token, sizeof plan->token, fields[0]);
    } else if (strcmp(key, "access") == 0) {
        plan_read_target(plan, plan->access, fields[0]);
    } else if (strcmp(key, "error") == 0) {
        plan_read_target(plan, plan->error, fields[0]);
    } else if (strcmp(key, "level") == 0) {
        int level = log_level_parse(fields[0]);
        plan->level = level >= 0 ? (enum log_level)level : LOG_INFO;
    } else if (strcmp(key, "stop_timeout") == 0) {
        plan->stop_timeout = atof(fields[0]);
    } else if (strcmp(key, "script_timeout") == 0) {
        plan->script_timeout = atof(fields[0]);
    } else if (strcmp(key, "shared") == 0) {
        plan->shared = strtoull(fields[0], NULL, 10);
    } else if (strcmp(key, "hash") == 0) {
        plan_copy(plan->hash, sizeof plan->hash, fields[0]);
    } else if (strcmp(key, "watch") == 0) {
        plan->watch = fields[0][0] == '\0' ? -1 : atoi(fields[0]);
    } else if (strcmp(key, "file") == 0 && plan->file_count < PLAN_FILES) {
        plan->files[plan->file_count++] = strdup(fields[0]);
    } else if (strcmp(key, "warning") == 0 && plan->warning_count < PLAN_WARNINGS) {
        plan->warnings[plan->warning_count++] = strdup(fields[0]);
    }
}

/* One worker for each core, but at least two, so that one serves while a script blocks or has ended
 * the other. */
static unsigned plan_usual_workers(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 2 ? 2 : (unsigned)cores;
}

void plan_read(struct plan *plan, char *report)
{
    memset(plan, 0, sizeof *plan);
    plan->stop_timeout = 30;
    plan->script_timeout = 1;
    plan->level = LOG_INFO;
    plan->watch = -1;
    for (char *line; (line = strsep(&report, "\n")) != NULL;) {
        char *key = strsep(&line, "\t");
        if (line != NULL && !plan_read_text(plan, key, line))
            plan_read_line(plan, key, line);
    }
    if (plan->workers == 0)
        plan->workers = plan_usual_workers();
    if (plan->workers > PLAN_WORKERS)
        plan->workers = PLAN_WORKERS;
}

void plan_keep_control(struct plan *plan, const struct plan *from)
{
    plan_copy(plan->control, sizeof plan->control, from->control);
    for (unsigned i = 0; i < from->address_count; i++)
        if (strcmp(from->addresses[i].given, from->control) == 0)
            plan_add_address(plan, from->addresses[i].given, from->addresses[i].address);
}

void plan_free(struct plan *plan)
{
    for (unsigned i = 0; i < plan->listen_count; i++) {
        free(plan->listen[i].address);
        free(plan->listen[i].given);
        free(plan->listen[i].name);
    }
    for (unsigned i = 0; i < plan->address_count; i++) {
        free(plan->addresses[i].given);
        free(plan->addresses[i].address);
    }
    free(plan->addresses);
    plan->addresses = NULL;
    plan->address_count = 0;
    for (unsigned i = 0; i < plan->tls_count; i++) {
        free(plan->tls[i].key);
        free(plan->tls[i].first);
        free(plan->tls[i].second);
    }
    free(plan->tls);
    plan->tls = NULL;
    plan->tls_count = 0;
    for (unsigned i = 0; i < plan->file_count; i++)
        free(plan->files[i]);
    for (unsigned i = 0; i < plan->warning_count; i++)
        free(plan->warnings[i]);
    free(plan->ini);
    free(plan->format);
    free(plan->note);
    plan->ini = plan->note = plan->format = NULL;
    plan->listen_count = plan->file_count = plan->warning_count = 0;
}
