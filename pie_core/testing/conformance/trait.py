"""Base of the suite of a trait. The package that declares a trait publishes one; whoever realizes it can run it.

    class SteeringSuite(TraitSuite):
        trait = STEERING
        uses = ("output_text",)

        def test_mixing_with_weight_0_is_the_other(self):
            program = self.open_program()
            ...

Name its module in the entry points of group `pie_core.suites`, under the trait's name, and return the class from the
hook `pie_suite`: then `pie-core plugins --check` finds it, and pytest shows the values in its assertions. A suite holds
for every correct backend: it compares what the trait's own calls answer, never tensors.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pie_core.testing.conformance.derived import derived_cases
from pie_core.testing.conformance.model_suite import ModelSuite
from pie_core.testing.conformance.suite import quick
from pie_core.trait import Trait


class TraitSuite(ModelSuite):
    """Cases of one trait, over a loaded model that must have it; those that follow from the declaration are added.

    uses: further traits whose calls the cases make.
    """

    trait: ClassVar[Trait]
    uses: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        if "trait" in vars(cls):
            for name, case in derived_cases(cls.trait).items():
                if name not in vars(cls):
                    setattr(cls, name, case)
            cls.test_the_model_has_the_trait_and_what_its_cases_use = quick(cls._check_traits)  # type: ignore[attr-defined]
        super().__init_subclass__(**keywords)

    def _check_traits(self) -> None:
        realization = self.subject.realization
        wanted = [self.trait.name, *self.trait.supertraits, *self.uses]
        assert {name: realization.reasons.get(name) for name in wanted if name not in realization.traits} == {}
        assert realization.traits[self.trait.name].version == self.trait.version
