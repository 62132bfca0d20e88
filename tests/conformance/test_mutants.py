"""The suites find what is wrong: each mutant fails the case that is named for its mistake, and the original none."""

import pytest
from pie_traits_text.testing import AllocateSuite, ForwardSuite, InputTextSuite, OutputTextSuite, TokenizeSuite

from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.conformance import BackendSuite, ContentionSuite, DispatchSuite, run_suite

from . import mutants

SUITES = (BackendSuite, AllocateSuite, ForwardSuite, InputTextSuite, OutputTextSuite, TokenizeSuite)


def failing(suite, backend=FakeBackend, specs=None):
    """Names of the cases that fail for a backend and its handlers."""

    class Tested(suite):
        def make(self):
            return backend(pages=128, embeds=1024, page_size=8, adapters=("one", "other"))

        def handlers(self):
            return specs or fake_handlers()

    return {result.case for result in run_suite(Tested) if result.status != "passed"}


HANDLERS = {
    mutants.IgnoresMask: (ForwardSuite, "test_a_mask_may_show_what_lies_ahead"),
    mutants.ShowsHidden: (ForwardSuite, "test_a_hidden_token_is_not_seen_and_can_be_shown_again"),
    mutants.StoresPositionOffByOne: (ForwardSuite, "test_a_prefill_in_chunks_gives_what_it_gives_whole"),
    mutants.IgnoresPositions: (ForwardSuite, "test_positions_count"),
    mutants.SwapsResultsOfABatch: (OutputTextSuite, "test_each_of_a_batch_gets_its_own"),
    mutants.SwapsOutputsOfABatch: (ForwardSuite, "test_steps_of_one_shape_in_one_batch_are_kept_apart"),
    mutants.DependsOnTheBatch: (ForwardSuite, "test_a_call_among_many_gives_what_it_gives_alone"),
    mutants.CannotRunAgain: (ForwardSuite, "test_a_call_that_fails_takes_no_other_of_its_batch_along"),
    mutants.ForgetsOnePageOfTheContext: (ForwardSuite, "test_a_long_context_over_scattered_pages_is_whole"),
    mutants.CopiesFromTheStart: (AllocateSuite, "test_tokens_are_copied_to_any_slots"),
    mutants.WritesThePageBeside: (ForwardSuite, "test_pages_of_another_inferlet_are_left_as_they_are"),
    mutants.WritesAllHiddenStates: (ForwardSuite, "test_only_the_last_hidden_states_are_written_and_inputs_are_left"),
    mutants.ShiftsTokens: (InputTextSuite, "test_each_embed_gets_the_token_at_its_place"),
    mutants.DoesNotNormalize: (OutputTextSuite, "test_probabilities_and_the_rest_sum_to_one"),
    mutants.SortsUpward: (OutputTextSuite, "test_the_most_probable_come_first"),
    mutants.ListsOneTokenFewer: (OutputTextSuite, "test_as_many_tokens_are_listed_as_asked_for_each_once"),
    mutants.BreaksPartialCharacters: (TokenizeSuite, "test_a_character_in_pieces_is_replaced_until_it_is_whole"),
    mutants.CountsTheVocabularyWrong: (TokenizeSuite, "test_the_vocabulary_has_the_bytes_of_every_token"),
    mutants.IgnoresAdapters: (ForwardSuite, "test_each_adapter_computes_something_else"),
    mutants.OneAdapterForAll: (ForwardSuite, "test_adapters_mixed_in_a_batch_give_what_each_gives_alone"),
    mutants.TouchesTheBooks: (ForwardSuite, "test_a_mask_hides_what_mask_kvpage_hides"),
}  # fmt: skip


@pytest.mark.parametrize("mutant", HANDLERS, ids=lambda mutant: mutant.__name__)
def test_a_wrong_handler_fails_the_case_of_its_mistake(mutant):
    suite, case = HANDLERS[mutant]
    assert case in failing(suite, specs=mutants.handlers(mutant))


@pytest.mark.parametrize(
    ("backend", "case"),
    [
        (mutants.ChangingCapacity, "test_capacity_names_resource_kinds_and_is_constant"),
        (mutants.NoLimit, "test_every_command_has_a_batch_limit_of_one_or_more_that_is_constant"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_backend_that_states_wrong_facts_fails(backend, case):
    assert case in failing(BackendSuite, backend)


@pytest.mark.parametrize("mistake", [mutants.freed_twice, mutants.leaked], ids=["freed twice", "leaked"])
@pytest.mark.parametrize("suite", [AllocateSuite, InputTextSuite])
def test_books_that_do_not_add_up_fail_every_case_that_gives_anything_back(monkeypatch, mistake, suite):
    mistake(monkeypatch)
    failed = failing(suite)
    assert {case for case in suite.cases() if "refuses_handles" in case} <= failed


CONTROL = {
    mutants.shared_pages_are_written: "test_forward_refuses_to_write_what_is_shared",
    mutants.the_ended_go_on: "test_forward_is_refused_once_the_inferlet_has_ended",
    mutants.any_queue_will_do: "test_forward_needs_a_queue_of_its_own",
    mutants.foreign_handles_are_known: "test_forward_refuses_handles_that_are_not_its_own",
    mutants.half_is_freed: "test_dealloc_kvpage_refuses_handles_that_are_not_its_own",
}  # fmt: skip


@pytest.mark.parametrize("mistake", CONTROL, ids=lambda mistake: mistake.__name__)
def test_a_control_layer_that_is_too_lenient_fails_what_follows_from_the_declaration(monkeypatch, mistake):
    mistake(monkeypatch)
    suite = AllocateSuite if "dealloc" in CONTROL[mistake] else ForwardSuite
    assert CONTROL[mistake] in failing(suite)


POLICIES = {
    mutants.NeverLaunches: (DispatchSuite, "test_every_command_runs_and_runs_once"),
    mutants.WaitsForThree: (DispatchSuite, "test_a_lone_command_is_launched_within_the_bound"),
    mutants.LaunchesByChance: (DispatchSuite, "test_equal_input_gives_equal_waves"),
    mutants.TakesFromTheBacklog: (DispatchSuite, "test_asking_takes_nothing_from_the_backlog"),
    mutants.WaitsForQuiet: (DispatchSuite, "test_a_flood_of_commands_does_not_keep_the_device_idle"),
    mutants.NobodyGivesWay: (ContentionSuite, "test_two_that_wait_for_each_other_do_not_wait_for_ever"),
    mutants.EndsByChance: (ContentionSuite, "test_equal_input_gives_equal_choices"),
    mutants.FreesByItself: (ContentionSuite, "test_who_gives_way_is_one_of_the_holders_and_choosing_changes_no_books"),
}  # fmt: skip


@pytest.mark.parametrize("mutant", POLICIES, ids=lambda mutant: mutant.__name__)
def test_a_wrong_policy_fails_the_case_of_its_mistake(mutant):
    suite, case = POLICIES[mutant]

    class Tested(suite):
        def make(self):
            return mutant()

    assert case in {result.case for result in run_suite(Tested) if result.status == "failed"}


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_without_a_mistake_nothing_fails(suite):
    assert failing(suite) == set()
