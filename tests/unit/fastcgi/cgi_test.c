/*
 * cgi_test - params by every rule of contract sections 5 and 12, and the head of an answer at every
 * split. Links cgi, request and what that needs.
 */
#include "../test.h"
#include "fastcgi/cgi.h"

static struct request req;
static struct backend_settings backend;
static struct params params;
static char memory[4096];

/* --- params --- */

static void begin(void)
{
    request_init(&req, memory, sizeof memory);
    backend = (struct backend_settings){.name = STR("app"),
                                        .profile = PROFILE_PHP,
                                        .root = STR("/srv/app"),
                                        .docroot = STR("/app")};
    req.method = STR("GET");
    req.target = STR("/a%20b/x.php/p%2fq?c=d&e");
    req.uri = (struct uri){.raw_path = STR("/a%20b/x.php/p%2fq"),
                           .path = STR("/a b/x.php/p/q"),
                           .query = STR("c=d&e"),
                           .origin = STR("/a%20b/x.php/p%2fq?c=d&e"),
                           .has_query = true};
    req.version = HTTP_1_1;
    req.host = STR("example.com");
    req.client = (struct peer){.family = AF_INET, .ip = {192, 0, 2, 7}, .port = 40000};
    req.local = (struct peer){.family = AF_INET, .ip = {10, 0, 0, 1}, .port = 8080};
    req.decision.kind = DECISION_FASTCGI;
    req.decision.script = STR("/a b/x.php");
    req.decision.path_info = STR("/p/q");
}

static void end(void)
{
    request_fini(&req);
}

/* A header as the front hands it over. */
static struct header *add(const char *name, const char *value)
{
    struct header *first = headers_get(&req.headers, str_of(name));
    if (first != NULL)
        first->repeated = true;
    struct header *h = headers_add(&req.arena, &req.headers, str_of(name), str_of(value));
    h->hop = header_is_hop(h->id);
    h->again = first != NULL;
    h->odd = strpbrk(name, "_.") != NULL;
    return h;
}

static void make(int64_t body_size)
{
    struct cgi_paths paths;
    cgi_paths(&paths, &req, &backend);
    params = (struct params){0};
    cgi_params(&params, &req, &backend, &paths, body_size);
}

static unsigned count_of(const char *name)
{
    unsigned count = 0;
    for (unsigned i = 0; i < params.count; i++)
        count += str_eq(params.list[i].name, str_of(name));
    return count;
}

/* The value of a param, "(none)" without it, "(twice)" where the name is there again. */
static struct str param(const char *name)
{
    unsigned count = count_of(name);
    if (count != 1)
        return count == 0 ? STR("(none)") : STR("(twice)");
    return params_find(&params, str_of(name))->value;
}

/* Every name once; nothing of a client's making but HTTP_*. */
static void check_names(void)
{
    for (unsigned i = 0; i < params.count; i++) {
        char name[200];
        snprintf(name, sizeof name, "%.*s", STR_FMT(params.list[i].name));
        if (!check_int(count_of(name), 1))
            fprintf(stderr, "    name: %s\n", name);
    }
}

static void test_default_params(void)
{
    begin();
    make(-1);
    test("params: profile php");
    check_names();
    check_str(param("GATEWAY_INTERFACE"), "CGI/1.1");
    check_str(param("SERVER_SOFTWARE"), "moongate/" MG_VERSION " (like nginx)");
    check_str(param("SERVER_PROTOCOL"), "HTTP/1.1");
    check_str(param("SERVER_NAME"), "example.com");
    check_str(param("SERVER_ADDR"), "10.0.0.1");
    check_str(param("SERVER_PORT"), "8080");
    check_str(param("REMOTE_ADDR"), "192.0.2.7");
    check_str(param("REMOTE_PORT"), "40000");
    check_str(param("REQUEST_METHOD"), "GET");
    check_str(param("REQUEST_URI"), "/a%20b/x.php/p%2fq?c=d&e");
    check_str(param("REQUEST_SCHEME"), "http");
    check_str(param("QUERY_STRING"), "c=d&e");
    check_str(param("DOCUMENT_URI"), "/a b/x.php/p/q");
    check_str(param("SCRIPT_NAME"), "/a b/x.php");
    check_str(param("SCRIPT_FILENAME"), "/app/a b/x.php");
    check_str(param("DOCUMENT_ROOT"), "/app");
    check_str(param("PATH_INFO"), "/p/q");
    check_str(param("REDIRECT_STATUS"), "200");
    static const char *const absent[] = {"PATH_TRANSLATED", "HTTPS",       "CONTENT_TYPE",
                                         "CONTENT_LENGTH",  "REMOTE_USER", "AUTH_TYPE"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        check_int(count_of(absent[i]), 0);
    check_int(params.count, 18);

    test("params: profile generic");
    backend.profile = PROFILE_GENERIC;
    make(-1);
    check_names();
    check_str(param("SERVER_SOFTWARE"), "moongate/" MG_VERSION);
    check_str(param("PATH_TRANSLATED"), "/app/p/q");
    check_str(param("REDIRECT_STATUS"), "(none)");
    check_str(param("GATEWAY_INTERFACE"), "CGI/1.1");

    test("params: HTTP/1.0, https, no query, no host, IPv6");
    req.version = HTTP_1_0;
    req.https = true;
    req.host = STR_NONE;
    req.uri.query = STR_NONE;
    req.uri.has_query = false;
    req.local = (struct peer){.family = AF_INET6, .ip = {[15] = 1}, .port = 443};
    req.client =
        (struct peer){.family = AF_INET6, .ip = {0x20, 1, 0x0d, 0xb8, [15] = 9}, .port = 1};
    make(-1);
    check_str(param("SERVER_PROTOCOL"), "HTTP/1.0");
    check_str(param("REQUEST_SCHEME"), "https");
    check_str(param("HTTPS"), "on");
    check_str(param("QUERY_STRING"), "");
    check(params_find(&params, STR("QUERY_STRING"))->value.p != NULL);
    check_str(param("SERVER_ADDR"), "::1");
    check_str(param("SERVER_NAME"), "::1");
    check_str(param("REMOTE_ADDR"), "2001:db8::9");
    check_str(param("HTTP_HOST"), "(none)");

    test("params: a client behind a unix socket");
    req.client = req.local = (struct peer){.family = AF_UNIX};
    req.host = STR("example.com");
    make(-1);
    static const char *const unknown[] = {"REMOTE_ADDR", "REMOTE_PORT", "SERVER_ADDR"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        check_int(count_of(unknown[i]), 0);
    check_str(param("SERVER_NAME"), "example.com");
    check_str(param("SERVER_PORT"), "443"); /* of https, from above */
    req.https = false;
    req.host_port = 8443;
    make(-1);
    check_str(param("SERVER_PORT"), "8443");
    req.host_port = -1;
    req.host = STR_NONE;
    make(-1);
    check_names();
    check_str(param("SERVER_PORT"), "80");
    check_str(param("SERVER_NAME"), "localhost");
    end();
}

static void test_paths(void)
{
    begin();
    test("params: strip is seen by the application and not by the file system");
    req.uri.path = STR("/wiki/doku.php/x");
    req.uri.origin = STR("/wiki/doku.php/x");
    req.decision.strip = STR("/wiki");
    req.decision.script = STR("/doku.php");
    req.decision.path_info = STR("/x");
    make(-1);
    check_str(param("SCRIPT_NAME"), "/wiki/doku.php");
    check_str(param("SCRIPT_FILENAME"), "/app/doku.php");
    check_str(param("PATH_INFO"), "/x");
    check_str(param("REQUEST_URI"), "/wiki/doku.php/x");
    check_str(param("DOCUMENT_URI"), "/wiki/doku.php/x");
    check_str(param("DOCUMENT_ROOT"), "/app");

    test("params: generic without a script has strip or nothing as SCRIPT_NAME");
    backend.profile = PROFILE_GENERIC;
    req.decision.script = STR_NONE;
    req.decision.path_info = STR("/doku.php/x");
    make(-1);
    check_str(param("SCRIPT_NAME"), "/wiki");
    check_str(param("PATH_INFO"), "/doku.php/x");
    check_str(param("PATH_TRANSLATED"), "/app/doku.php/x");
    req.decision.strip = STR_NONE;
    make(-1);
    check_str(param("SCRIPT_NAME"), "");

    test("params: an empty PATH_INFO is not sent, nor is its translation");
    req.decision.script = STR("/x.php");
    req.decision.path_info = STR_NONE;
    make(-1);
    check_str(param("PATH_INFO"), "(none)");
    check_str(param("PATH_TRANSLATED"), "(none)");
    req.decision.path_info = STR("");
    make(-1);
    check_str(param("PATH_INFO"), "(none)");

    test("params: script_filename overrides the mapping");
    backend.profile = PROFILE_PHP;
    req.decision.script_filename = STR("/elsewhere/run.php");
    make(-1);
    check_str(param("SCRIPT_FILENAME"), "/elsewhere/run.php");
    check_str(param("SCRIPT_NAME"), "/x.php");

    test("params: no site is known, on either side");
    for (int profile = 0; profile < 2; profile++) {
        backend.profile = profile == 0 ? PROFILE_PHP : PROFILE_GENERIC;
        backend.root = backend.docroot = STR_NONE;
        req.decision.script_filename = STR_NONE;
        req.decision.path_info = STR("/p");
        make(-1);
        check_str(param("DOCUMENT_ROOT"), "(none)");
        check_str(param("SCRIPT_FILENAME"), "/x.php");
        check_str(param("PATH_TRANSLATED"), "(none)");
        check_str(param("PATH_INFO"), "/p");
        req.decision.strip = STR("/s");
        req.decision.script = STR_NONE;
        make(-1);
        check_str(param("SCRIPT_NAME"), "/s");
        req.decision.strip = STR_NONE;
        req.decision.script = STR("/x.php");
    }
    end();
}

static void test_which_docroot(void)
{
    static const struct {
        const char *backend_root, *backend_docroot, *root, *docroot; /* given; NULL: absent */
        const char *local, *remote;                                  /* found */
    } table[] = {
        {NULL, NULL, NULL, NULL, "", ""},
        {"/srv", NULL, NULL, NULL, "/srv", "/srv"},
        {"/srv", "/app", NULL, NULL, "/srv", "/app"},
        {NULL, "/app", NULL, NULL, "", "/app"},
        {NULL, NULL, "/srv", NULL, "/srv", "/srv"},
        {NULL, NULL, NULL, "/app", "", "/app"},
        {NULL, NULL, "/srv", "/app", "/srv", "/app"},
        {"/srv", "/app", "/srv", NULL, "/srv", "/app"},
        {"/srv", "/app", "/srv/a/b", NULL, "/srv/a/b", "/app/a/b"},
        {"/srv", "/app", "/srv/a/b", "/mine", "/srv/a/b", "/mine"},
        {"/srv", "/app", "/other", NULL, "/other", "/other"},
        {"/srv", "/app", "/srvother", NULL, "/srvother", "/srvother"},
        {"/srv/a", "/app", "/srv", NULL, "/srv", "/srv"},
        {"/srv", NULL, "/srv/a", NULL, "/srv/a", "/srv/a"},
        {NULL, "/app", "/srv", NULL, "/srv", "/srv"},
        {"/srv", "/app", NULL, "/mine", "/srv", "/mine"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct cgi_paths paths;
        char name[200];
#define OR_NONE(text) ((text) != NULL ? str_of(text) : STR_NONE)
#define OR_DASH(text) ((text) != NULL ? (text) : "-")
        snprintf(name, sizeof name, "docroot: backend %s %s, decision %s %s",
                 OR_DASH(table[i].backend_root), OR_DASH(table[i].backend_docroot),
                 OR_DASH(table[i].root), OR_DASH(table[i].docroot));
        test(name);
        begin();
        backend.root = OR_NONE(table[i].backend_root);
        backend.docroot = OR_NONE(table[i].backend_docroot);
        req.decision.root = OR_NONE(table[i].root);
        req.decision.docroot = OR_NONE(table[i].docroot);
        cgi_paths(&paths, &req, &backend);
        check_str(paths.root, table[i].local);
        check_str(paths.docroot, table[i].remote);
        end();
    }
}

static void test_body(void)
{
    begin();
    test("params: CONTENT_LENGTH is the size of what follows, whatever the client said");
    add("Content-Length", "12345");
    add("content-type", "text/plain; charset=utf-8");
    make(99);
    check_str(param("CONTENT_LENGTH"), "99");
    check_str(param("CONTENT_TYPE"), "text/plain; charset=utf-8");
    check_str(param("HTTP_CONTENT_LENGTH"), "(none)");
    check_str(param("HTTP_CONTENT_TYPE"), "(none)");
    make(0);
    check_str(param("CONTENT_LENGTH"), "0");
    make(INT64_MAX);
    check_str(param("CONTENT_LENGTH"), "9223372036854775807");
    make(-1);
    check_str(param("CONTENT_LENGTH"), "(none)");

    test("params: a streamed body of unknown size has no CONTENT_LENGTH");
    make(-2);
    check_str(param("CONTENT_LENGTH"), "(none)");
    end();
}

static void test_headers(void)
{
    static const char *const kept_out[] = {
        "Proxy",
        "PROXY",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Transfer-Encoding",
        "Proxy-Connection",
        "Proxy-Foo",
        "pRoXy-",
        "Proxy-Authorization",
        "Content-Length",
        "Content-Type",
    };
    begin();
    test("params: headers become HTTP_*");
    add("X-Foo", "1");
    add("user-agent", "a b\tc");
    add("X123-4a", "\xff\xfe");
    add("Empty", "");
    add("Authorization", "Basic dTpw");
    add("Cookie", "a=b");
    add("Range", "bytes=0-");
    make(-1);
    check_names();
    check_str(param("HTTP_X_FOO"), "1");
    check_str(param("HTTP_USER_AGENT"), "a b\tc");
    check_str(param("HTTP_X123_4A"), "\xff\xfe");
    check_str(param("HTTP_EMPTY"), "");
    check_str(param("HTTP_AUTHORIZATION"), "Basic dTpw");
    check_str(param("HTTP_COOKIE"), "a=b");
    check_str(param("HTTP_RANGE"), "bytes=0-");
    end();

    begin();
    test("params: what belongs to the connection, and Proxy, never comes through");
    for (size_t i = 0; i < sizeof kept_out / sizeof *kept_out; i++)
        add(kept_out[i], "evil");
    make(-1);
    for (unsigned i = 0; i < params.count; i++)
        if (!check(!str_starts(params.list[i].name, STR("HTTP_"))))
            test_print("name", params.list[i].name);
    end();

    begin();
    test("params: what Connection names is not forwarded (the front marks it)");
    add("X-Private", "1")->hop = true;
    add("X-Public", "2");
    make(-1);
    check_str(param("HTTP_X_PRIVATE"), "(none)");
    check_str(param("HTTP_X_PUBLIC"), "2");
    end();

    begin();
    test("params: a client sets nothing but HTTP_*");
    static const char *const names[] = {
        "Script-Filename", "SCRIPT-FILENAME", "Document-Root",   "Remote-Addr",     "Https",
        "Redirect-Status", "PHP-VALUE",       "PHP-ADMIN-VALUE", "Content-Length-", "Path-Info",
        "Query-String",    "Http-Host",       "Server-Name",     "Auth-Type",       "Request-Uri"};
    make(-1);
    unsigned before = params.count;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add(names[i], "evil");
    make(-1);
    check_names();
    unsigned evil = 0;
    for (unsigned i = 0; i < params.count; i++) {
        if (!str_eq(params.list[i].value, STR("evil")))
            continue;
        evil++;
        check(str_starts(params.list[i].name, STR("HTTP_")));
    }
    check_int(evil, 13);
    check_int(params.count, before + 14); /* Script-Filename came twice: "evil, evil" */
    check_str(param("SCRIPT_FILENAME"), "/app/a b/x.php");
    check_str(param("HTTP_HTTP_HOST"), "evil");
    check_str(param("HTTP_HOST"), "(none)");
    end();

    begin();
    test("params: more headers than the list has room for at first");
    for (int i = 0; i < 300; i++) {
        char *name = malloc(20);
        snprintf(name, 20, "X-%d", i);
        struct str copy = arena_copy(&req.arena, str_of(name));
        add(copy.p, copy.p);
        free(name);
    }
    make(-1);
    check_int(params.count, 18 + 300);
    check_names();
    check_str(param("HTTP_X_0"), "X-0");
    check_str(param("HTTP_X_299"), "X-299");
    end();
}

static void test_odd_names(void)
{
    begin();
    test("params: a name with _ or . that was not asked for is dropped");
    add("X_Foo", "evil")->dropped = true;
    add("X.Bar", "evil")->dropped = true;
    add("X-Bar", "good");
    make(-1);
    check_str(param("HTTP_X_FOO"), "(none)");
    check_str(param("HTTP_X_BAR"), "good");
    end();

    begin();
    test("params: one of limits.header_names is kept");
    add("X_Legacy", "1");
    add("X.Dotted", "2");
    make(-1);
    check_str(param("HTTP_X_LEGACY"), "1");
    check_str(param("HTTP_X_DOTTED"), "2");
    end();

    test("params: it never takes the place of the one with -, whichever comes first");
    for (int first = 0; first < 2; first++) {
        begin();
        if (first == 0)
            add("X_Legacy", "underscore");
        add("X-Legacy", "dash");
        if (first == 1)
            add("X_Legacy", "underscore");
        make(-1);
        check_names();
        check_str(param("HTTP_X_LEGACY"), "dash");
        end();
    }

    begin();
    test("params: two of them that would collide: one of both, whole");
    add("X_Legacy", "1");
    add("X.Legacy", "2");
    add("X_Legacy", "3");
    make(-1);
    check_names();
    check_str(param("HTTP_X_LEGACY"), "1, 3");
    end();

    begin();
    test("params: no detour to HTTP_PROXY, HTTP_HOST and the like");
    add("Host", "example.com");
    add("Content_Length", "7");
    add("Content_Type", "evil");
    add("Ho_st", "evil");
    make(5);
    check_names();
    check_str(param("HTTP_HOST"), "example.com");
    check_str(param("CONTENT_LENGTH"), "5");
    check_str(param("CONTENT_TYPE"), "(none)");
    check_str(param("HTTP_PROXY"), "(none)");
    end();
}

static void test_repeated(void)
{
    begin();
    test("params: repeated headers are joined by a comma, in order");
    add("X-Forwarded-For", "a");
    add("Accept", "x");
    add("x-forwarded-for", "b, c");
    add("X-FORWARDED-FOR", "");
    add("X-Forwarded-For", "d");
    make(-1);
    check_names();
    check_str(param("HTTP_X_FORWARDED_FOR"), "a, b, c, , d");
    check_str(param("HTTP_ACCEPT"), "x");
    end();

    begin();
    test("params: repeated cookies by a semicolon");
    add("Cookie", "a=1; b=2");
    add("cookie", "c=3");
    make(-1);
    check_str(param("HTTP_COOKIE"), "a=1; b=2; c=3");
    end();
}

static void test_host(void)
{
    begin();
    test("params: HTTP_HOST is as sent, SERVER_NAME is the host alone");
    add("Host", "EXAMPLE.com:81");
    make(-1);
    check_str(param("HTTP_HOST"), "EXAMPLE.com:81");
    check_str(param("SERVER_NAME"), "example.com");
    check_str(param("SERVER_PORT"), "8080");

    end();
}

static void set(const char *name, const char *value)
{
    params_add(&req.arena, &req.decision.params, str_of(name),
               value != NULL ? str_of(value) : STR_NONE);
}

static void test_decision_params(void)
{
    begin();
    add("Cookie", "secret");
    add("X-Keep", "1");
    test("params: a decision sets, replaces and removes");
    set("APP_ENV", "test");
    set("EMPTY", "");
    set("SERVER_NAME", "replaced");
    set("HTTP_COOKIE", NULL);
    set("NOT_THERE", NULL);
    set("lower_case", "x");
    make(-1);
    check_names();
    check_str(param("APP_ENV"), "test");
    check_str(param("EMPTY"), "");
    check_str(param("SERVER_NAME"), "replaced");
    check_str(param("HTTP_COOKIE"), "(none)");
    check_str(param("NOT_THERE"), "(none)");
    check_str(param("lower_case"), "x");
    check_str(param("HTTP_X_KEEP"), "1");

    test("params: names are compared to the letter, and a removal takes just one");
    set("server_name", "other");
    set("HTTP_X_KEEP", NULL);
    unsigned before = params.count;
    make(-1);
    check_int(params.count, before); /* one more, one less */
    check_str(param("SERVER_NAME"), "replaced");
    check_str(param("server_name"), "other");
    check_str(param("HTTP_X_KEEP"), "(none)");
    check_str(param("HTTP_HOST"), "(none)");

    test("params: the first and the last of the list can be removed");
    for (unsigned i = 0; i < req.decision.params.count; i++)
        params_remove(&params, req.decision.params.list[i].name);
    while (params.count > 0) {
        struct str name = params.list[params.count % 2 == 0 ? 0 : params.count - 1].name;
        unsigned count = params.count;
        params_remove(&params, name);
        if (!check_int(params.count, count - 1) || !check(params_find(&params, name) == NULL))
            break;
    }
    end();
}

/* --- the answer's head --- */

struct answer {
    enum cgi_result result;
    char err[512];
    char text[1024]; /* status, length, headers */
    char body[256];  /* what was left of the input */
};

static void describe(struct answer *a, const char *rest, size_t n)
{
    size_t at = 0;
    const struct response *res = &req.response;
    snprintf(a->body, sizeof a->body, "%.*s", (int)n, rest);
    if (a->result != CGI_DONE)
        return;
    at += (size_t)snprintf(a->text, sizeof a->text, "%d %" PRId64 "|", res->status,
                           res->content_length);
    for (unsigned i = 0; i < res->headers.count && at < sizeof a->text; i++)
        at += (size_t)snprintf(a->text + at, sizeof a->text - at, "%.*s=%.*s|",
                               STR_FMT(res->headers.list[i].name),
                               STR_FMT(res->headers.list[i].value));
}

/* Feeds text in three parts; the parts are gone after each call, as in life. */
static struct answer feed(struct str text, size_t a, size_t b, size_t limit)
{
    const size_t cuts[] = {0, a, b, text.n};
    struct cgi_head head = {0};
    struct answer out = {.result = CGI_MORE};
    const char *err = NULL;
    request_init(&req, memory, 64);
    for (int i = 0; i < 3 && out.result == CGI_MORE; i++) {
        size_t n = cuts[i + 1] - cuts[i];
        char *copy = test_copy(text.p + cuts[i], n);
        struct str in = {copy, n};
        out.result = cgi_head_feed(&head, &req, &in, limit, &err);
        if (out.result == CGI_MORE && !check_int((int64_t)in.n, 0))
            out.result = CGI_ERROR;
        size_t left = in.n; /* of this part; the parts behind it follow it */
        char *rest = test_copy(text.p + cuts[i + 1] - left, left + text.n - cuts[i + 1]);
        memset(copy, 'Z', n);
        free(copy);
        describe(&out, rest, left + text.n - cuts[i + 1]);
        free(rest);
    }
    snprintf(out.err, sizeof out.err, "%s", err != NULL ? err : "");
    request_fini(&req);
    return out;
}

/* want: the answer as describe() writes it; NULL: an error. */
static void check_answer(struct str text, const char *want, const char *body)
{
    struct answer whole = feed(text, text.n, text.n, 1000);
    if (want == NULL) {
        check_int(whole.result, CGI_ERROR);
        check(whole.err[0] != '\0');
    } else if (check_int(whole.result, CGI_DONE)) {
        check_str(str_of(whole.text), want);
        check_str(str_of(whole.body), body);
    } else if (whole.result == CGI_ERROR) {
        fprintf(stderr, "    error: %s\n", whole.err);
    }
    for (size_t a = 0; a <= text.n; a++) {
        for (size_t b = a; b <= text.n; b++) {
            struct answer part = feed(text, a, b, 1000);
            if (!check_int(part.result, whole.result) ||
                !check_str(str_of(part.text), whole.text) ||
                (whole.result == CGI_DONE && !check_str(str_of(part.body), whole.body)) ||
                (whole.result == CGI_ERROR && !check_str(str_of(part.err), whole.err))) {
                fprintf(stderr, "    cut at %zu and %zu\n", a, b);
                return;
            }
        }
    }
}

static void test_answers(void)
{
    static const struct {
        const char *text, *want, *body;
    } table[] = {
        {"Content-type: text/html\r\n\r\nhello", "200 -1|Content-type=text/html|", "hello"},
        {"Content-type: text/html\n\nhello", "200 -1|Content-type=text/html|", "hello"},
        {"A: 1\r\nB: 2\n\r\n", "200 -1|A=1|B=2|", ""},
        {"A: 1\nB: 2\r\n\n", "200 -1|A=1|B=2|", ""},
        {"A:1\n\n\nx", "200 -1|A=1|", "\nx"},
        {"A:1\n\n\r\nx", "200 -1|A=1|", "\r\nx"},
        {"A: \t1 \t\n\n", "200 -1|A=1|", ""},
        {"A:\nB: \n\n", "200 -1|A=|B=|", ""},
        {"A: b:c: d\n\n", "200 -1|A=b:c: d|", ""},
        {"A: \xc3\xa4\n\n", "200 -1|A=\xc3\xa4|", ""},
        {"A: a\tb\n\n", "200 -1|A=a\tb|", ""},
        {"Set-Cookie: a=1\nSet-Cookie: b=2\n\n", "200 -1|Set-Cookie=a=1|Set-Cookie=b=2|", ""},
        /* statuses */
        {"Status: 404 Not Found\r\nX: y\r\n\r\n", "404 -1|X=y|", ""},
        {"Status: 404\n\n", "404 -1|", ""},
        {"sTATUS:   503   Busy  \n\n", "503 -1|", ""},
        {"Status: 200\n\n", "200 -1|", ""},
        {"Status: 599 x\n\n", "599 -1|", ""},
        {"X: y\nStatus: 201 Created\n\n", "201 -1|X=y|", ""},
        {"HTTP/1.1 201 Created\r\nX: y\r\n\r\n", "201 -1|X=y|", ""},
        {"HTTP/1.0 404\nX: y\n\n", "404 -1|X=y|", ""},
        {"Location: http://example.com/\n\n", "302 -1|Location=http://example.com/|", ""},
        {"Location: https://a/\nStatus: 301 Moved\n\n", "301 -1|Location=https://a/|", ""},
        {"Status: 200 OK\nLocation: http://a/\n\n", "200 -1|Location=http://a/|", ""},
        {"Status: 199\n\n", NULL, NULL},
        {"Status: 100 Continue\n\n", NULL, NULL},
        {"Status: 101\n\n", NULL, NULL},
        {"Status: 600\n\n", NULL, NULL},
        {"Status: 000\n\n", NULL, NULL},
        {"Status: 0200\n\n", NULL, NULL},
        {"Status: 20\n\n", NULL, NULL},
        {"Status: 2000\n\n", NULL, NULL},
        {"Status: 200OK\n\n", NULL, NULL},
        {"Status: OK\n\n", NULL, NULL},
        {"Status: -200\n\n", NULL, NULL},
        {"Status: +20\n\n", NULL, NULL},
        {"Status: 404: Not Found\n\n", "404 -1|", ""},
        {"Status: 404:\n\n", "404 -1|", ""},
        {"Status: 404\tNot Found\n\n", "404 -1|", ""},
        {"HTTP/1.1 404: Not Found\n\n", "404 -1|", ""},
        {"Status: 404; Not Found\n\n", NULL, NULL},
        {"Status:\n\n", NULL, NULL},
        {"Status: 0x1F4\n\n", NULL, NULL},
        {"HTTP/1.1\n\n", NULL, NULL},
        {"HTTP/1.1 abc\n\n", NULL, NULL},
        {"HTTP/1.1 100 Continue\n\n", NULL, NULL},
        {"X: y\nHTTP/1.1 200 OK\n\n", NULL, NULL},
        /* lengths */
        {"Content-Length: 5\n\nhello", "200 5|", "hello"},
        {"Content-Length: 0\n\n", "200 0|", ""},
        {"content-length: 5\nContent-Length: 005\n\n", "200 5|", ""},
        {"Content-Length: 9223372036854775807\n\n", "200 9223372036854775807|", ""},
        {"Content-Length: 9223372036854775808\n\n", NULL, NULL},
        {"Content-Length: 99999999999999999999999\n\n", NULL, NULL},
        {"Content-Length: 5\nContent-Length: 6\n\n", NULL, NULL},
        {"Content-Length: -1\n\n", NULL, NULL},
        {"Content-Length: +1\n\n", NULL, NULL},
        {"Content-Length: 5, 5\n\n", NULL, NULL},
        {"Content-Length: 5 \n\n", "200 5|", ""},
        {"Content-Length: five\n\n", NULL, NULL},
        {"Content-Length:\n\n", NULL, NULL},
        /* what may stand once: the first counts */
        {"Content-Type: a/b\ncontent-type: c/d\n\n", "200 -1|Content-Type=a/b|", ""},
        {"ETag: a\nX: y\nETag: b\nETag: c\n\n", "200 -1|ETag=a|X=y|", ""},
        {"Date: a\nDate: b\n\n", "200 -1|Date=a|", ""},
        {"Location: http://a/\nLocation: /b\n\n", "302 -1|Location=http://a/|", ""},
        {"Last-Modified: a\nLast-Modified: b\n\n", "200 -1|Last-Modified=a|", ""},
        {"Server: a\nServer: b\n\n", "200 -1|Server=a|", ""},
        {"Expires: a\nExpires: b\n\n", "200 -1|Expires=a|", ""},
        {"Age: 1\nAge: 2\n\n", "200 -1|Age=1|", ""},
        {"Content-Disposition: a\nContent-Disposition: b\n\n", "200 -1|Content-Disposition=a|", ""},
        {"Retry-After: 1\nRetry-After: 2\n\n", "200 -1|Retry-After=1|", ""},
        {"Status: 404\nStatus: 500\n\n", "404 -1|", ""},
        {"HTTP/1.1 404 x\nStatus: 500\n\n", "404 -1|", ""},
        {"Vary: a\nVary: b\n\n", "200 -1|Vary=a|Vary=b|", ""},
        {"Link: a\nLink: b\n\n", "200 -1|Link=a|Link=b|", ""},
        /* what is ours to say */
        {"Transfer-Encoding: chunked\nConnection: close\nKeep-Alive: x\nX: y\n\n", "200 -1|X=y|",
         ""},
        {"Upgrade: h2c\nTE: x\nTrailer: x\nProxy-Connection: x\nX: y\n\n", "200 -1|X=y|", ""},
        /* no head */
        {"\n", NULL, NULL},
        {"\r\n", NULL, NULL},
        {"\n\nhello", NULL, NULL},
        {"\r\n\r\nhello", NULL, NULL},
        {"\nA: b\n\n", NULL, NULL},
        /* broken lines */
        {"hello\n\n", NULL, NULL},
        {"<html>\n\n", NULL, NULL},
        {"A: 1\nhello\n\n", NULL, NULL},
        {"A: 1\n folded\n\n", NULL, NULL},
        {"A: 1\n\tfolded: 2\n\n", NULL, NULL},
        {" A: 1\n\n", NULL, NULL},
        {"A : 1\n\n", NULL, NULL},
        {"A B: 1\n\n", NULL, NULL},
        {": 1\n\n", NULL, NULL},
        {":\n\n", NULL, NULL},
        {"A(b): 1\n\n", NULL, NULL},
        {"Proxy-A(b): 1\n\n", NULL, NULL},
        {"Proxy- : 1\n\n", NULL, NULL},
        {"\xc3\xa4: 1\n\n", NULL, NULL},
        /* control bytes */
        {"A: a\rb\n\n", NULL, NULL},
        {"A: a\r\r\n\n", NULL, NULL},
        {"A: 1\r\r\nB: 2\r\n\r\n", NULL, NULL},
        {"A: a\x01\n\n", NULL, NULL},
        {"A: a\x1b[2J\n\n", NULL, NULL},
        {"A: \x7f\n\n", NULL, NULL},
        {"A\x01: b\n\n", NULL, NULL},
        {"Status: 200 \x01\n\n", NULL, NULL},
        {"Connection: \x01\n\n", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        test(table[i].text);
        check_answer(str_of(table[i].text), table[i].want, table[i].body);
    }
    test("head: NUL bytes");
    check_answer((struct str){"A: a\0b\n\n", 8}, NULL, NULL);
    check_answer((struct str){"A\0: b\n\n", 7}, NULL, NULL);
    check_answer((struct str){"\0\n\n", 3}, NULL, NULL);

    test("head: the line that is wrong is quoted, up to 100 bytes of it");
    struct answer bad = feed(STR("A: b\r\nPHP\x01 hello\r\n\r\n"), 3, 9, 1000);
    check_str(str_of(bad.err), "a header line without a colon: 'PHP\\x01 hello'");
    bad = feed(STR("Status: fine\n\n"), 0, 0, 1000);
    check_str(str_of(bad.err), "a status that is not a number from 200 to 599: 'Status: fine'");
    char line[302];
    memset(line, 'x', sizeof line);
    line[300] = line[301] = '\n';
    bad = feed((struct str){line, sizeof line}, 0, 0, 1000);
    check_int((int64_t)strlen(bad.err), 31 + 100 + (int64_t)strlen("'' and more"));

    test("head: more is wanted until the empty line");
    static const char text[] = "Status: 200 OK\r\nA: b\r\n\r\n";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct answer a = feed((struct str){text, n}, n / 2, n, 1000);
        check_int(a.result, CGI_MORE);
    }
}

static void test_limit(void)
{
    static const char text[] = "A: 1234567890\r\nB: 2\r\n\r\n"; /* 23 bytes */
    size_t n = sizeof text - 1;
    char *long_text = malloc(n + 1000);
    memcpy(long_text, text, n);
    memset(long_text + n, 'x', 1000);
    test("head: the limit counts the head, to the byte, and not the body behind it");
    for (size_t a = 0; a <= n; a++) {
        struct answer ok = feed((struct str){long_text, n + 1000}, a, a, n);
        struct answer bad = feed((struct str){long_text, n + 1000}, a, a, n - 1);
        if (!check_int(ok.result, CGI_DONE) || !check_int(bad.result, CGI_TOO_LARGE) ||
            !check(bad.err[0] != '\0')) {
            fprintf(stderr, "    cut at %zu\n", a);
            break;
        }
    }
    free(long_text);

    test("head: endless headers, and an endless line, meet the limit");
    for (int lines = 0; lines < 2; lines++) {
        struct cgi_head head = {0};
        const char *err = NULL;
        enum cgi_result result = CGI_MORE;
        size_t fed = 0;
        request_init(&req, memory, sizeof memory);
        while (result == CGI_MORE && fed < 100000) {
            struct str in = lines ? STR("A: b\r\n") : STR("A: bbbbb");
            fed += in.n;
            result = cgi_head_feed(&head, &req, &in, 5000, &err);
        }
        check_int(result, CGI_TOO_LARGE);
        check(fed <= 5000 + 8 && fed > 5000);
        check(err != NULL);
        request_fini(&req);
    }
}

/* --- pages of PHP-FPM's own --- */

static bool is_own(const char *script, const char *path_info, const char *filename)
{
    static const struct str pages[] = {{"/ping", 5}, {"/fpm/status", 11}};
    params = (struct params){0};
    params_add(&req.arena, &params, STR("SCRIPT_NAME"), str_of(script));
    params_add(&req.arena, &params, STR("SCRIPT_FILENAME"), str_of(filename));
    if (path_info != NULL)
        params_add(&req.arena, &params, STR("PATH_INFO"), str_of(path_info));
    return cgi_own_page(&params, &req, pages, 2) != NULL;
}

static void test_own_pages(void)
{
    begin();
    test("PHP-FPM's pages are known by what it compares with them");
    req.uri.path = STR("/x");
    check(is_own("/ping", NULL, "/srv/ping"));
    check(is_own("/fpm/status", NULL, "/srv/fpm/status"));
    check(!is_own("/pin", NULL, "/srv/pin"));
    check(!is_own("/ping/", NULL, "/srv/ping/"));
    check(!is_own("/PING", NULL, "/srv/PING"));
    check(is_own("/a.php", "/ping", "/srv/a.php"));           /* cgi.fix_pathinfo = 0 */
    check(is_own("/f/z.php", "/ping123456", "/srv/f/z.php")); /* where /srv/f is a file */
    check(is_own("/g/f/z.php", "/ping12345678", "/srv/g/f/z.php"));
    check(!is_own("/f/z.php", "/ping12345", "/srv/f/z.php"));
    check(!is_own("/a.php", "/x/ping", "/srv/a.php"));
    check(!is_own("/a.php", "/pings", "/srv/a.php"));

    test("REDIRECT_URL too; without a page there is none");
    is_own("/a.php", NULL, "/srv/a.php");
    params_add(&req.arena, &params, STR("REDIRECT_URL"), STR("/ping"));
    check(cgi_own_page(&params, &req, &STR("/ping"), 1) != NULL);
    check(cgi_own_page(&params, &req, NULL, 0) == NULL);

    test("a hook may name one for another path");
    req.decision.script_named = true;
    check(!is_own("/ping", NULL, "/srv/ping"));
    req.uri.path = STR("/ping");
    check(is_own("/ping", NULL, "/srv/ping"));
    req.uri.path = STR("/ping/x");
    check(is_own("/ping", "/x", "/srv/ping"));
    end();
}

static void test_hints(void)
{
    static const char text[] = "Status: 103\nLink: </a>; rel=preload\n\nStatus: 103\nLink: b\n\n"
                               "Status: 201\nX-A: c\n\nbody";
    struct str links[2] = {STR(""), STR("")};
    struct cgi_head head = {0};
    struct str in = STR_NONE;
    enum cgi_result result = CGI_MORE;
    unsigned hints = 0;
    const char *err = NULL;

    test("Early Hints stand before the head, byte by byte");
    request_init(&req, memory, sizeof memory);
    for (size_t at = 0; at < sizeof text - 1 && result != CGI_DONE; at++) {
        in = (struct str){text + at, 1};
        result = cgi_head_feed(&head, &req, &in, 200, &err);
        if (result != CGI_HINTS)
            continue;
        check_int(req.response.headers.count, 1);
        links[hints++ % 2] = req.response.headers.list[0].value;
        cgi_head_again(&head, &req);
    }
    check_int(hints, 2);
    check_str(links[0], "</a>; rel=preload");
    check_str(links[1], "b");
    check_int(result, CGI_DONE);
    check_int(req.response.status, 201);
    check_int(req.response.headers.count, 1);
    request_fini(&req);

    test("Early Hints count for the limit of the head");
    request_init(&req, memory, sizeof memory);
    head = (struct cgi_head){0};
    in = (struct str){text, sizeof text - 1};
    while ((result = cgi_head_feed(&head, &req, &in, 70, &err)) == CGI_HINTS)
        cgi_head_again(&head, &req);
    check_int(result, CGI_TOO_LARGE);
    request_fini(&req);
}

int main(void)
{
    test_hints();
    test_own_pages();
    test_default_params();
    test_paths();
    test_which_docroot();
    test_body();
    test_headers();
    test_odd_names();
    test_repeated();
    test_host();
    test_decision_params();
    test_answers();
    test_limit();
    return test_report();
}
