// What sandbox.py measures, in C: see guest.py, which makes the same calls.

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PIE_IMPLEMENTATION
#include "pie.h"

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
#define CHECK(call)                                                                                  \
  do {                                                                                               \
    outcome_t outcome_ = (call);                                                                     \
    if (outcome_.is_error) return outcome_;                                                          \
  } while (0)

enum { BRANCHES = 4 };

typedef pie_result_option_string_t outcome_t;
typedef pie_list_u32_t list_t;
typedef struct { uint32_t q; list_t pages, emb; uint32_t step; uint64_t asked; } sequence_t;

static const pie_option_mask_t NO_MASK = {0};
static const pie_option_u32_t ONE = {true, 1};

static outcome_t ready(void) {
  DO(pie_send((pie_string_t){"ready", 5}));
  uint64_t asked = TRY(pie_receive());
  free(TRY(pie_receive_result(asked)).ptr);
  return (outcome_t){0};
}

// A sequence with room for tokens, on this queue.
static outcome_t begin(sequence_t *sequence, uint32_t q) {
  sequence->q = q;
  sequence->pages = TRY(pie_alloc_kvpage(q, 2));
  sequence->emb = TRY(pie_alloc_emb(q, 1));
  return (outcome_t){0};
}

// Embed a token and run it; nobody will ask about either.
static outcome_t run_token(sequence_t *sequence, uint32_t token) {
  uint64_t tickets[2];
  tickets[0] = TRY(pie_embed_txt(sequence->q, (list_t){&token, 1}, (list_t){&sequence->step, 1}, sequence->emb));
  sequence->step++;
  tickets[1] = TRY(pie_forward(sequence->q, sequence->pages, sequence->emb, sequence->pages, sequence->emb, NO_MASK));
  pie_drop((pie_list_u64_t){tickets, 2});
  return (outcome_t){0};
}

static outcome_t next_token(uint64_t asked, uint32_t *token) {
  pie_output_text_dist_t dist = TRY(pie_get_next_dist_result(asked));
  *token = dist.ids.ptr[0];
  free(dist.ids.ptr), free(dist.probs.ptr);
  return (outcome_t){0};
}

static outcome_t calls(uint32_t steps) {
  CHECK(ready());
  for (uint32_t step = 0; step < steps; step++) free(TRY(pie_get_version()).ptr);
  return (outcome_t){0};
}

static outcome_t forwards(uint32_t q, uint32_t steps) {
  sequence_t own = {0};
  CHECK(begin(&own, q));
  CHECK(run_token(&own, 1));
  CHECK(ready());
  for (uint32_t step = 0; step < steps; step++)
    DO(pie_outcome(TRY(pie_forward(q, own.pages, own.emb, own.pages, own.emb, NO_MASK))));
  return (outcome_t){0};
}

static outcome_t decode(uint32_t q, uint32_t steps) {
  sequence_t own = {0};
  uint32_t token;
  CHECK(begin(&own, q));
  CHECK(run_token(&own, 1));
  CHECK(ready());
  for (uint32_t step = 0; step < steps; step++) {
    CHECK(next_token(TRY(pie_get_next_dist(q, own.emb, ONE)), &token));
    CHECK(run_token(&own, token));
  }
  return (outcome_t){0};
}

// Run a token of a sequence and ask for the next.
static outcome_t advance(sequence_t *sequence) {
  CHECK(run_token(sequence, 1));
  sequence->asked = TRY(pie_get_next_dist(sequence->q, sequence->emb, ONE));
  return (outcome_t){0};
}

static outcome_t gathered(pie_string_t model, uint32_t steps) {
  sequence_t sequences[BRANCHES] = {0};
  uint32_t token;
  CHECK(ready());
  for (int i = 0; i < BRANCHES; i++) {
    CHECK(begin(sequences + i, TRY(pie_create_queue(model))));
    CHECK(advance(sequences + i));
  }
  for (int left = BRANCHES; left;) {
    uint64_t asked[BRANCHES];
    size_t open = 0;
    for (int i = 0; i < BRANCHES; i++)
      if (sequences[i].asked) asked[open++] = sequences[i].asked;
    pie_list_u64_t answered = pie_wait((pie_list_u64_t){asked, open});
    for (int i = 0; i < BRANCHES; i++)
      for (size_t at = 0; at < answered.len; at++) {
        if (!sequences[i].asked || sequences[i].asked != answered.ptr[at]) continue;
        CHECK(next_token(sequences[i].asked, &token));
        sequences[i].asked = 0;
        if (sequences[i].step < steps) CHECK(advance(sequences + i));
        else left--;
        break;
      }
    free(answered.ptr);
  }
  return (outcome_t){0};
}

static bool is(pie_string_t text, const char *word) { return text.len == strlen(word) && !memcmp(text.ptr, word, text.len); }

outcome_t pie_run(void) {
  pie_list_string_t arguments = TRY(pie_get_arg());
  pie_string_t kind = arguments.ptr[0], model = TRY(pie_model_names()).ptr[0];
  uint32_t steps = 0, q = TRY(pie_create_queue(model));
  for (size_t at = 0; at < arguments.ptr[1].len; at++) steps = 10 * steps + (arguments.ptr[1].ptr[at] - '0');
  if (is(kind, "calls")) return calls(steps);
  if (is(kind, "forwards")) return forwards(q, steps);
  if (is(kind, "decode")) return decode(q, steps);
  return gathered(model, steps);
}
