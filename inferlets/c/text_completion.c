// Greedy text completion in C, with the fine-grained calls; the same text as ../text_completion.py gives.

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PIE_IMPLEMENTATION
#include "pie.h"

#include "json.h"

// Give a result's error back to the server, which shows it; else its value.
#define TRY(call)                                                                                    \
  ({                                                                                                 \
    __auto_type result_ = (call);                                                                    \
    if (result_.is_error) return (outcome_t){.is_error = true, .error = result_.error};              \
    result_.ok;                                                                                      \
  })
#define DO(call)                                                                                     \
  do {                                                                                               \
    __auto_type result_ = (call);                                                                    \
    if (result_.is_error) return (outcome_t){.is_error = true, .error = result_.error};              \
  } while (0)

typedef pie_result_option_string_t outcome_t;
typedef pie_list_u32_t list_t;

static list_t of(uint32_t *items, size_t count) { return (list_t){items, count}; }

static bool ends_within_a_character(pie_string_t text) {
  return text.len >= 3 && !memcmp(text.ptr + text.len - 3, "\xEF\xBF\xBD", 3);
}

static bool is_among(uint32_t token, const char *list) {
  for (const char *at = list + 1; list[1] != ']'; at++) {
    if ((uint32_t)json_number(at, &at) == token) return true;
    if (*at == ']') break;
  }
  return false;
}

outcome_t pie_run(void) {
  pie_string_t flags = TRY(pie_get_flags());
  pie_string_t model = TRY(pie_model_names()).ptr[0];
  pie_string_t facts = TRY(pie_model_facts(model));
  const char *bos = json_find(facts, "bos_token"), *eos_tokens = json_find(facts, "eos_tokens");
  size_t range = json_number(json_find(facts, "max_position"), NULL);
  size_t most = json_number(json_find(flags, "max_tokens"), NULL);
  uint32_t q = TRY(pie_create_queue(model));

  list_t prompt = TRY(pie_tokenize(q, json_text(json_find(flags, "prompt"))));
  size_t first = *bos != 'n', count = first + prompt.len;
  if (most > range - count) most = count < range ? range - count : 0;
  uint32_t *tokens = calloc(count + most, sizeof *tokens), *positions = calloc(count + most, sizeof *positions);
  if (first) tokens[0] = json_number(bos, NULL);
  memcpy(tokens + first, prompt.ptr, prompt.len * sizeof *tokens);
  for (size_t i = 0; i < count + most; i++) positions[i] = i;

  size_t page_size = TRY(pie_get_kvpage_size(model));
  list_t pages = TRY(pie_alloc_kvpage(q, (count + most + page_size - 1) / page_size));
  list_t embeds = TRY(pie_alloc_emb(q, count)), last = TRY(pie_alloc_emb(q, 1));
  pie_option_mask_t no_mask = {0};
  pie_list_u64_t no_interest = {calloc(2, sizeof(uint64_t)), 2};
  size_t shown = 0, start = count;

  TRY(pie_embed_txt(q, of(tokens, count), of(positions, count), embeds));
  TRY(pie_forward(q, of(NULL, 0), embeds, pages, last, no_mask));
  DO(pie_dealloc_emb(q, embeds));
  while (count < start + most) {
    uint64_t asked = TRY(pie_get_next_dist(q, last, (pie_option_u32_t){true, 1}));
    pie_output_text_dist_t dist = TRY(pie_get_next_dist_result(asked));
    uint32_t token = dist.ids.ptr[0];
    free(dist.ids.ptr), free(dist.probs.ptr);
    if (is_among(token, eos_tokens)) break;
    tokens[count++] = token;
    pie_string_t text = TRY(pie_detokenize(q, of(tokens + start, count - start)));
    if (!ends_within_a_character(text) && text.len > shown) {
      DO(pie_output((pie_string_t){text.ptr + shown, text.len - shown}));
      shown = text.len;
    }
    free(text.ptr);
    no_interest.ptr[0] = TRY(pie_embed_txt(q, of(&token, 1), of(positions + count - 1, 1), last));
    no_interest.ptr[1] = TRY(pie_forward(q, pages, last, pages, last, no_mask));
    pie_drop(no_interest);
  }
  pie_string_t text = TRY(pie_detokenize(q, of(tokens + start, count - start)));
  DO(pie_output((pie_string_t){text.ptr + shown, text.len - shown}));
  DO(pie_output((pie_string_t){"\n", 1}));
  return (outcome_t){0};
}
