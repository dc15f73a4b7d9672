/*
 * json_test - commas, escapes, and buffers of every size up to that of the whole text. Links json
 * and str.
 */
#include "../test.h"

#include "base/json.h"

static void write_all(struct json *j)
{
    json_open(j, '{');
    json_name(j, "a");
    json_number(j, 1.5);
    json_name(j, "b\"");
    json_open(j, '[');
    json_text(j, STR("x\n\"\\ \xc3\xa9\xff"), SIZE_MAX);
    json_number(j, 1e9);
    json_text(j, STR("abcdef"), 3);
    json_open(j, '{');
    json_close(j, '}');
    json_close(j, ']');
    json_name(j, "c");
    json_text(j, STR_NONE, 1);
    json_close(j, '}');
}

int main(void)
{
    static const char whole[] =
        "{\"a\":1.5,\"b\\u0022\":[\"x\\u000a\\u0022\\u005c \xc3\xa9\\u00ff\","
        "1000000000,\"abc\",{}],\"c\":\"\"}";
    char out[200];
    struct json j;
    test("members and elements have their commas, and texts their escapes");
    json_init(&j, out, sizeof out);
    write_all(&j);
    check(!j.full && j.used == sizeof whole - 1 && memcmp(out, whole, j.used) == 0);
    check(json_room(&j) == sizeof out - j.used);
    test("a buffer that is too small is not left");
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        memset(out, '#', sizeof out);
        json_init(&j, out, size);
        write_all(&j);
        check(j.full && j.used <= size && out[size] == '#' && json_room(&j) == 0);
    }
    return test_report();
}
