"""Kfuncs of the scheduler class sched_ext, and of CPU masks."""

from __future__ import annotations

from bombus.spec.kfuncs.model import Kfunc, rows

ROWS: tuple[Kfunc, ...] = (
    *rows("sched", "6.3", """
        bpf_cpumask_create+an Allocates a CPU mask.
        bpf_cpumask_release+r Gives a CPU mask back.
        bpf_cpumask_acquire+at Takes a reference to a CPU mask.
        bpf_cpumask_first+c Finds the first CPU of a mask.
        bpf_cpumask_first_zero+c Finds the first CPU that a mask lacks.
        bpf_cpumask_set_cpu+c Adds a CPU to a mask.
        bpf_cpumask_clear_cpu+c Takes a CPU out of a mask.
        bpf_cpumask_test_cpu+c Tells whether a mask has a CPU.
        bpf_cpumask_test_and_set_cpu+c Adds a CPU and tells whether it was there.
        bpf_cpumask_test_and_clear_cpu+c Takes a CPU out and tells whether it was there.
        bpf_cpumask_setall+c Fills a mask with all CPUs.
        bpf_cpumask_clear+c Empties a mask.
        bpf_cpumask_and+c The CPUs that two masks share.
        bpf_cpumask_or+c The CPUs of either mask.
        bpf_cpumask_xor+c The CPUs that only one of two masks has.
        bpf_cpumask_equal+c Tells whether two masks are the same.
        bpf_cpumask_intersects+c Tells whether two masks share a CPU.
        bpf_cpumask_subset+c Tells whether a mask lies in another one.
        bpf_cpumask_empty+c Tells whether a mask is empty.
        bpf_cpumask_full+c Tells whether a mask has all CPUs.
        bpf_cpumask_copy+c Copies a mask.
    """),
    *rows("sched", "6.5", """
        bpf_cpumask_first_and+c Finds the first CPU that two masks share.
        bpf_cpumask_any_distribute+c Chooses a CPU of a mask, another one each time.
        bpf_cpumask_any_and_distribute+c Chooses a CPU that two masks share, another one each time.
    """),
    *rows("sched", "6.8", """
        bpf_cpumask_weight+c Counts the CPUs of a mask.
    """),
    *rows("sched", "6.15", """
        bpf_cpumask_populate+c Fills a mask from bits in memory.
    """),
    *rows("struct_ops_syscall", "6.12", """
        scx_bpf_create_dsq+s Makes a queue for tasks that wait for a CPU.
        scx_bpf_dispatch_from_dsq_set_slice+c Says how long a task that is moved may run.
        scx_bpf_dispatch_from_dsq_set_vtime+c Says which virtual time a task that is moved has.
        scx_bpf_dispatch_from_dsq+c Moves a task from one queue to another.
        scx_bpf_dispatch_vtime_from_dsq+c Moves a task into the order of virtual time of another queue.
    """),
    *rows("struct_ops", "6.12", """
        scx_bpf_select_cpu_dfl+c Chooses a CPU for a task that wakes up, as the kernel itself would.
        scx_bpf_dispatch+c Puts a task into a queue, first in, first out.
        scx_bpf_dispatch_vtime+c Puts a task into a queue in the order of virtual time.
        scx_bpf_dispatch_nr_slots Counts how many more tasks this call may put into queues.
        scx_bpf_dispatch_cancel Takes the last of these tasks back.
        scx_bpf_consume Takes a task from a queue to run it on this CPU.
        scx_bpf_reenqueue_local Sends the tasks of this CPU's queue back to the scheduler.
    """),
    *rows("sched", "6.12", """
        scx_bpf_kick_cpu Has a CPU schedule anew.
        scx_bpf_dsq_nr_queued Counts the tasks of a queue.
        scx_bpf_destroy_dsq Removes a queue.
        bpf_iter_scx_dsq_new+p Begins to walk over the tasks of a queue.
        bpf_iter_scx_dsq_next The next task of the queue.
        bpf_iter_scx_dsq_destroy Ends the walk over a queue.
        scx_bpf_exit_bstr+t Ends the scheduler in order, with a message.
        scx_bpf_error_bstr+t Ends the scheduler with an error message.
        scx_bpf_dump_bstr+t Adds text to a dump of the scheduler's state.
        scx_bpf_cpuperf_cap The highest performance of a CPU.
        scx_bpf_cpuperf_cur The present performance of a CPU.
        scx_bpf_cpuperf_set Asks for a performance of a CPU.
        scx_bpf_nr_cpu_ids Counts the numbers that CPUs may have.
        scx_bpf_get_possible_cpumask+a The mask of CPUs that may ever be there.
        scx_bpf_get_online_cpumask+a The mask of CPUs that are online.
        scx_bpf_put_cpumask+r Gives such a mask back.
        scx_bpf_get_idle_cpumask+a The mask of CPUs that are idle.
        scx_bpf_get_idle_smtmask+a The mask of cores that are wholly idle.
        scx_bpf_put_idle_cpumask+r Gives such a mask back.
        scx_bpf_test_and_clear_cpu_idle Claims a CPU if it is idle.
        scx_bpf_pick_idle_cpu+c Claims an idle CPU of a mask.
        scx_bpf_pick_any_cpu+c Claims an idle CPU of a mask, or any when none is idle.
        scx_bpf_task_running+c Tells whether a task runs now.
        scx_bpf_task_cpu+c The CPU that a task is on.
        scx_bpf_cpu_rq The run queue of a CPU.
        scx_bpf_task_cgroup+ac The cgroup that the scheduler sees a task in.
    """),
    *rows("struct_ops", "6.13", """
        scx_bpf_dsq_insert+c Puts a task into a queue, first in, first out.
        scx_bpf_dsq_insert_vtime+c Puts a task into a queue in the order of virtual time.
        scx_bpf_dsq_move_to_local Takes a task from a queue to run it on this CPU.
    """),
    *rows("struct_ops_syscall", "6.13", """
        scx_bpf_dsq_move_set_slice+c Says how long a task that is moved may run.
        scx_bpf_dsq_move_set_vtime+c Says which virtual time a task that is moved has.
        scx_bpf_dsq_move+c Moves a task from one queue to another.
        scx_bpf_dsq_move_vtime+c Moves a task into the order of virtual time of another queue.
    """),
    *rows("sched", "6.14", """
        scx_bpf_now A clock that is cheap to read.
    """),
    *rows("sched", "6.15", """
        scx_bpf_events+t Reads the counters of a scheduler's events.
        scx_bpf_nr_node_ids Counts the numbers that memory nodes may have.
        scx_bpf_cpu_node The memory node of a CPU.
    """),
)  # fmt: skip
