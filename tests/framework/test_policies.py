"""Policies by name: ours and a stranger's alike, their options, and what is said when a choice cannot be used."""

import pytest

from pie_core import ConfigError, PluginError
from pie_core.control.contention import ContentionPolicy, FcfsKill
from pie_core.control.dispatch import Adaptive
from pie_core.control.swap_policy import Swap
from pie_core.plugins import Selection, discover
from pie_core.policies import PolicyChoice, fit_contention, make_contention, make_dispatch
from pie_core.testing import FakeBackend
from pie_core.testing.rig import make_rig

DISPATCH = """
    import msgspec

    from pie_core import DispatchPolicy, PolicySpec, hookimpl


    class Options(msgspec.Struct):
        n: int = 2


    class Nth(DispatchPolicy):
        name = "acme-nth"

        def __init__(self, options):
            self.n, self.asked = options.n, 0

        def due(self, backlog, *, idle, quiet, now):
            if not quiet:
                return False
            self.asked += 1
            return self.asked % self.n == 0 or now + 0.5


    @hookimpl
    def pie_dispatch():
        return PolicySpec({name!r}, "Every nth time.", {make}, Options)
"""
CONTENTION = """
    from pie_core import ContentionPolicy, PolicySpec, hookimpl


    class Oldest(ContentionPolicy):
        name = "acme-oldest"

        def victim(self, kind, requester, holders):
            return holders[0]


    @hookimpl
    def pie_contention():
        return PolicySpec("acme-oldest", "End the oldest.", lambda options: Oldest())
"""


def add_dispatch(install, name="acme-nth", make="Nth"):
    source = DISPATCH.replace("{name!r}", repr(name)).replace("{make}", make)
    install("acme-policy", {"acme_nth": source}, {"pie_core.dispatch": {"acme-nth": "acme_nth"}})


def test_ours_are_found_through_entry_points():
    assert {"adaptive", "eager", "k-only", "t-only"} <= {plugin.name for plugin in discover("dispatch")}
    assert {"fcfs-kill", "swap", "wait"} <= {plugin.name for plugin in discover("contention")}


@pytest.mark.parametrize("kind", ["dispatch", "contention"])
def test_each_that_is_installed_can_be_made_by_its_name(kind):
    make = make_dispatch if kind == "dispatch" else make_contention
    for plugin in discover(kind):
        assert make(PolicyChoice(plugin.name), Selection()).name == plugin.name


def test_the_defaults_need_no_plugin(monkeypatch):
    monkeypatch.setattr("pie_core.plugins.discover", lambda kind: [])
    monkeypatch.setattr("pie_core.plugins.metadata.distributions", list)
    assert isinstance(make_dispatch(PolicyChoice(), Selection()), Adaptive)
    assert isinstance(make_contention(PolicyChoice(), Selection()), Swap)


def test_a_strangers_dispatch_policy_is_used_with_its_options_and_its_own_times(install):
    add_dispatch(install)
    policy = make_dispatch(PolicyChoice("acme-nth", {"n": "3"}), Selection())
    rig = make_rig(dispatch=policy)
    rig.open().prompt([1])
    rig.loop.advance(0.4)
    assert rig.device.shapes == [] and policy.asked == 1
    rig.loop.advance(1.0)
    assert rig.device.shapes == [[("embed_txt", 1)]] and policy.asked == 3


def test_a_strangers_contention_policy_is_used(install):
    install("acme-oldest", {"acme_old": CONTENTION}, {"pie_core.contention": {"acme-oldest": "acme_old"}})
    rig = make_rig(pages=2, contention=make_contention(PolicyChoice("acme-oldest"), Selection()))
    old, new = rig.open("old"), rig.open("new")
    for program in (old, new):
        program.call("alloc_kvpage", 1)
    new.call("alloc_kvpage", 1)
    assert rig.evicted == ["old"]


def test_an_unknown_name_or_option_gets_the_near_ones(install):
    with pytest.raises(PluginError, match=r"no dispatch plugin is named 'k_only'; did you mean 'k-only'"):
        make_dispatch(PolicyChoice("k_only"), Selection())
    with pytest.raises(PluginError, match=r"no contention plugin is named 'swpa'; did you mean 'swap'"):
        make_contention(PolicyChoice("swpa"), Selection())
    with pytest.raises(ConfigError, match=r"dispatch policy 'k-only' has no option 'kk'.*patience_ms"):
        make_dispatch(PolicyChoice("k-only", {"kk": "3"}), Selection())
    with pytest.raises(ConfigError, match=r"dispatch policy 'k-only': option k=many: expected `int`"):
        make_dispatch(PolicyChoice("k-only", {"k": "many"}), Selection())
    with pytest.raises(ConfigError, match=r"dispatch policy 'adaptive' has no option 'k'; there is none"):
        make_dispatch(PolicyChoice(None, {"k": "3"}), Selection())


def test_entry_point_and_policy_must_agree_on_the_name(install):
    add_dispatch(install, name="another")
    with pytest.raises(PluginError, match=r"'acme-nth' of package acme-policy 1\.0 registers a policy named 'another'"):
        make_dispatch(PolicyChoice("acme-nth"), Selection())


def test_a_plugin_that_makes_something_else_is_refused(install):
    add_dispatch(install, make="lambda options: 7")
    with pytest.raises(PluginError, match="'acme-nth' is a int, not a DispatchPolicy"):
        make_dispatch(PolicyChoice("acme-nth"), Selection())


def test_swapping_gives_way_to_the_papers_policy_where_the_backend_cannot_unless_it_was_asked_for():
    able, unable = FakeBackend(), FakeBackend(swaps=False)
    default = make_contention(PolicyChoice(), Selection())
    assert fit_contention(default, PolicyChoice(), able) is default
    assert isinstance(fit_contention(default, PolicyChoice(), unable), FcfsKill)
    with pytest.raises(ConfigError, match="'swap' moves pages to host memory, which the backend on no device cannot"):
        fit_contention(default, PolicyChoice("swap"), unable)
    kept: ContentionPolicy = FcfsKill()
    assert fit_contention(kept, PolicyChoice("fcfs-kill"), unable) is kept
