// As much JSON as a program needs to read the flags and facts that the server writes: flat objects without spaces.
#ifndef JSON_H
#define JSON_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pie.h"

// Where the value of a key begins. A quote within a text is escaped, so no text can look like a key.
static const char *json_find(pie_string_t object, const char *key) {
  size_t size = strlen(key);
  for (const char *at = object.ptr, *end = at + object.len; at + size + 3 < end; at++)
    if (at[0] == '"' && !memcmp(at + 1, key, size) && at[size + 1] == '"' && at[size + 2] == ':') return at + size + 3;
  __builtin_trap();
}

static long json_number(const char *at, const char **end) {
  long number = 0, sign = *at == '-' ? -1 : 1;
  for (at += sign < 0; *at >= '0' && *at <= '9'; at++) number = 10 * number + (*at - '0');
  if (end) *end = at;
  return sign * number;
}

static uint32_t json_hex(const char *at) {
  uint32_t number = 0;
  for (int i = 0; i < 4; i++) number = 16 * number + (at[i] <= '9' ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
  return number;
}

static char *json_utf8(char *out, uint32_t point) {
  if (point < 0x80) {
    *out++ = point;
    return out;
  }
  int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  *out++ = (0xF00 >> more & 0xFF) | point >> 6 * more;
  while (more--) *out++ = 0x80 | (point >> 6 * more & 0x3F);
  return out;
}

// The text of a value; `at` is its first quote.
static pie_string_t json_text(const char *at) {
  const char *end = ++at;
  while (*end != '"') end += *end == '\\' ? 2 : 1;
  pie_string_t text = {malloc(end - at + 1), 0};
  char *out = text.ptr;
  while (at < end) {
    if (*at != '\\') {
      *out++ = *at++;
      continue;
    }
    static const char codes[] = "b\bf\fn\nr\rt\t";
    const char *code = strchr(codes, at[1]);
    if (at[1] != 'u') {
      *out++ = code ? code[1] : at[1];
      at += 2;
      continue;
    }
    uint32_t point = json_hex(at + 2);
    at += 6;
    if (point >> 10 == 0x36) {
      point = 0x10000 + ((point & 0x3FF) << 10) + (json_hex(at + 2) & 0x3FF);
      at += 6;
    }
    out = json_utf8(out, point);
  }
  text.len = out - text.ptr;
  return text;
}

#endif
