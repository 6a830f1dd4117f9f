"""What is tried on every kernel, in this order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.kernels.inside import calls, capabilities, container, entries, loading, packets, refusing, traffic
from tests.kernels.inside.rig import Rig

CASES: Final[dict[str, Callable[[Rig], None]]] = {
    case.__name__: case
    for case in (
        # Before anything is loaded: the first load raises a limit of the process.
        capabilities.loading_needs_these_and_no_less,
        loading.every_program_loads_within_half_of_the_limit,
        capabilities.attaching_needs_these_and_no_less,
        container.a_daemon_in_a_container_lets_envoy_out_of_it,
        refusing.this_kernel_has_every_kind_of_program_and_map,
        refusing.a_kernel_that_hides_its_types_keeps_nothing,
        entries.a_hash_takes_and_gives_many_entries,
        entries.a_trie_takes_many_entries_on_every_kernel,
        entries.a_map_that_is_full_says_so,
        packets.every_packet_meets_the_verdict_of_its_sentence,
        traffic.a_pod_reaches_the_listener_by_the_address_of_a_service,
        traffic.a_client_outside_reaches_the_listener_by_the_address_of_a_gateway,
        traffic.the_same_four_names_work_twice,
        traffic.the_capture_port_refuses_who_calls_it,
        traffic.programs_are_replaced_under_traffic,
        traffic.what_is_pinned_outlives_its_loader_and_is_adopted_by_the_next,
        refusing.an_object_that_does_not_load_leaves_what_runs_alone,
        refusing.pins_are_for_root_alone,
        calls.a_connection_goes_to_the_backend_by_the_name_that_was_asked_for,
        calls.a_datagram_goes_to_the_backend_and_the_answer_has_the_name_that_was_asked_for,
        calls.a_service_without_a_backend_refuses,
        calls.envoy_reaches_a_backend_as_its_client_from_a_port_of_its_own,
    )
}
