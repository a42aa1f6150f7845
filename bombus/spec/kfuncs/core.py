"""Kfuncs of the core: objects, graphs, dynptrs, iterators, tasks, cgroups, memory, strings, locks, files, keys."""

from __future__ import annotations

from bombus.spec.kfuncs.model import Kfunc, rows

ROWS: tuple[Kfunc, ...] = (
    *rows("tracing", "6.1", """
        bpf_verify_pkcs7_signature+s Checks a PKCS#7 signature of some data with the keys of a keyring.
    """),
    *rows("generic", "6.1", """
        bpf_lookup_user_key+ans Finds a keyring by its serial number.
        bpf_lookup_system_key+an Finds a keyring that the kernel itself keeps.
        bpf_key_put+r Gives a keyring back.
        crash_kexec+d Crashes the machine into the kernel that stands by for it.
    """),
    *rows("tracing", "6.1", """
        cgroup_rstat_updated Tells that a cgroup has new statistics on a CPU.
        cgroup_rstat_flush+s Brings the statistics of a cgroup and those below up to date.
    """, until="6.16"),
    *rows("tracing", "6.16", """
        css_rstat_updated Tells that a subsystem of a cgroup has new statistics on a CPU.
        css_rstat_flush+s Brings the statistics of a cgroup's subsystem up to date.
    """),
    *rows("generic", "6.2", """
        bpf_obj_new_impl+an Allocates an object of a type of the program.
        bpf_obj_drop_impl+r Frees an allocated object.
        bpf_list_pop_front+an Takes the node at the head off a list.
        bpf_list_pop_back+an Takes the node at the end off a list.
        bpf_task_acquire+acn Takes a reference to a task.
        bpf_task_release+r Gives a reference to a task back.
        bpf_task_from_pid+an Finds a task by its number in the first pid namespace.
        bpf_cgroup_acquire+acn Takes a reference to a cgroup.
        bpf_cgroup_release+r Gives a reference to a cgroup back.
        bpf_cgroup_ancestor+acn Finds the cgroup above another one, at some level.
    """),
    *rows("all", "6.2", """
        bpf_cast_to_kern_ctx Turns the program's context into the kernel's own struct.
        bpf_rdonly_cast Turns an address into a typed pointer for reading.
        bpf_rcu_read_lock Begins a section in which RCU keeps objects alive.
        bpf_rcu_read_unlock Ends such a section.
    """),
    *rows("generic", "6.3", """
        bpf_rbtree_first+n Finds the smallest node of a tree.
        bpf_rbtree_remove+an Takes a node out of a tree.
    """),
    *rows("generic", "6.2", """
        bpf_list_push_front Puts a node at the head of a list.
        bpf_list_push_back Puts a node at the end of a list.
    """, until="6.4"),
    *rows("generic", "6.3", """
        bpf_rbtree_add Puts a node into a tree, where a comparing callback says.
    """, until="6.4"),
    *rows("generic", "6.4", """
        bpf_list_push_front_impl Puts a node at the head of a list, and keeps a reference if asked to.
        bpf_list_push_back_impl Puts a node at the end of a list, and keeps a reference if asked to.
        bpf_rbtree_add_impl Puts a node into a tree, and keeps a reference if asked to.
        bpf_refcount_acquire_impl+acn Takes one more reference to an allocated object.
        bpf_cgroup_from_id+an Finds a cgroup by its id.
    """),
    *rows("all", "6.4", """
        bpf_dynptr_slice+n Gives a pointer to a part of a dynptr's data, copied if it lies in pieces.
        bpf_dynptr_slice_rdwr+n The same, for writing.
        bpf_iter_num_new Begins to count from one number to another.
        bpf_iter_num_next The next number.
        bpf_iter_num_destroy Ends the counting.
    """),
    *rows("all", "6.5", """
        bpf_dynptr_adjust Moves the start and the end of a dynptr.
        bpf_dynptr_is_null Tells whether a dynptr is empty.
        bpf_dynptr_is_rdonly Tells whether a dynptr may only be read.
        bpf_dynptr_size Bytes that a dynptr covers.
        bpf_dynptr_clone Makes a second dynptr for the same data.
    """),
    *rows("generic", "6.5", """
        bpf_task_under_cgroup+c Tells whether a task belongs to a cgroup or one below it.
    """),
    *rows("all", "6.6", """
        bpf_map_sum_elem_count+t Counts the elements of a map over all CPUs.
    """),
    *rows("generic", "6.7", """
        bpf_throw Ends the program with an exception.
        bpf_percpu_obj_new_impl+an Allocates an object with a copy for each CPU.
        bpf_percpu_obj_drop_impl+r Frees such an object.
    """),
    *rows("all", "6.7", """
        bpf_iter_task_vma_new+c Begins to walk over the memory areas of a task.
        bpf_iter_task_vma_next The next memory area.
        bpf_iter_task_vma_destroy Ends the walk over memory areas.
        bpf_iter_task_new+tp Begins to walk over tasks or threads.
        bpf_iter_task_next The next task.
        bpf_iter_task_destroy Ends the walk over tasks.
        bpf_iter_css_task_new+t Begins to walk over the tasks of a cgroup.
        bpf_iter_css_task_next The next task of the cgroup.
        bpf_iter_css_task_destroy Ends the walk over a cgroup's tasks.
        bpf_iter_css_new+tp Begins to walk over cgroups.
        bpf_iter_css_next The next cgroup.
        bpf_iter_css_destroy Ends the walk over cgroups.
    """),
    *rows("generic", "6.8", """
        bpf_task_get_cgroup1+acn Finds the cgroup of a task in a hierarchy of version 1.
    """),
    *rows("lsm", "6.8", """
        bpf_get_file_xattr+st Reads an extended attribute of a file.
        bpf_get_fsverity_digest+t Reads the fs-verity digest of a file.
    """),
    *rows("all", "6.9", """
        bpf_arena_alloc_pages+st Allocates pages of an arena.
        bpf_arena_free_pages+st Frees pages of an arena.
    """),
    *rows("all", "6.10", """
        bpf_wq_init Makes a work queue inside a map value.
        bpf_wq_set_callback_impl Says which function a work queue runs.
        bpf_wq_start Has a work queue run its function soon.
        bpf_preempt_disable Keeps other tasks off this CPU.
        bpf_preempt_enable Lets other tasks run again.
        bpf_modify_return_test_tp Runs a tracepoint for the kernel's own tests.
    """),
    *rows("kprobe", "6.10", """
        bpf_session_is_return Tells whether a session's program runs at the return.
        bpf_session_cookie Memory that entry and return of one call share.
    """),
    *rows("syscall", "6.10", """
        bpf_crypto_ctx_create+ans Makes a cipher with its key.
        bpf_crypto_ctx_acquire+acn Takes a reference to a cipher.
        bpf_crypto_ctx_release+r Gives a reference to a cipher back.
    """),
    *rows("crypto", "6.10", """
        bpf_crypto_encrypt+c Encrypts the data of a dynptr.
        bpf_crypto_decrypt+c Decrypts the data of a dynptr.
    """),
    *rows("all", "6.11", """
        bpf_iter_bits_new Begins to walk over the bits that are set in some words.
        bpf_iter_bits_next The next bit that is set.
        bpf_iter_bits_destroy Ends the walk over bits.
    """),
    *rows("lsm", "6.12", """
        bpf_get_task_exe_file+ant Finds the file that a task executes.
        bpf_put_file+r Gives a file back.
        bpf_path_d_path+t Writes a path as text.
        bpf_get_dentry_xattr+st Reads an extended attribute of a directory entry.
    """),
    *rows("all", "6.12", """
        bpf_copy_from_user_str+s Copies a string from user space.
    """),
    *rows("generic", "6.13", """
        bpf_send_signal_task+t Sends a signal, with a value, to a task or thread.
    """),
    *rows("all", "6.13", """
        bpf_get_kmem_cache Finds the slab cache that an address belongs to.
        bpf_iter_kmem_cache_new+s Begins to walk over slab caches.
        bpf_iter_kmem_cache_next+s The next slab cache.
        bpf_iter_kmem_cache_destroy+s Ends the walk over slab caches.
    """),
    *rows("all", "6.14", """
        bpf_local_irq_save Switches interrupts off on this CPU and keeps what they were.
        bpf_local_irq_restore Sets interrupts back to what they were.
    """),
    *rows("generic", "6.15", """
        bpf_task_from_vpid+an Finds a task by its number in the pid namespace of this task.
    """),
    *rows("lsm", "6.15", """
        bpf_set_dentry_xattr+st Writes an extended attribute of a directory entry.
        bpf_remove_dentry_xattr+st Removes an extended attribute of a directory entry.
    """),
    *rows("all", "6.15", """
        bpf_copy_from_user_task_str+s Copies a string from the memory of a task.
        bpf_dynptr_copy Copies data from one dynptr to another.
        bpf_res_spin_lock Takes a lock that notices deadlocks.
        bpf_res_spin_unlock Gives such a lock back.
        bpf_res_spin_lock_irqsave Takes such a lock with interrupts off.
        bpf_res_spin_unlock_irqrestore Gives such a lock back and sets interrupts as they were.
    """),
    *rows("generic", "6.16", """
        bpf_rbtree_root+n Finds the root of a tree.
        bpf_rbtree_left+n Finds the left child of a node.
        bpf_rbtree_right+n Finds the right child of a node.
        bpf_list_front+n Looks at the node at the head of a list.
        bpf_list_back+n Looks at the node at the end of a list.
    """),
    *rows("all", "6.16", """
        __bpf_trap Marks code that the compiler holds for unreachable.
        bpf_iter_dmabuf_new+s Begins to walk over DMA buffers.
        bpf_iter_dmabuf_next+s The next DMA buffer.
        bpf_iter_dmabuf_destroy+s Ends the walk over DMA buffers.
        bpf_probe_read_user_dynptr Reads user memory into a dynptr.
        bpf_probe_read_kernel_dynptr Reads kernel memory into a dynptr.
        bpf_probe_read_user_str_dynptr Reads a string of user memory into a dynptr.
        bpf_probe_read_kernel_str_dynptr Reads a string of kernel memory into a dynptr.
        bpf_copy_from_user_dynptr+s Copies user memory into a dynptr and may wait for pages.
        bpf_copy_from_user_str_dynptr+s Copies a string of user memory into a dynptr and may wait for pages.
        bpf_copy_from_user_task_dynptr+s Copies memory of a task into a dynptr.
        bpf_copy_from_user_task_str_dynptr+s Copies a string from the memory of a task into a dynptr.
    """),
    *rows("all", "6.17", """
        bpf_cgroup_read_xattr+c Reads an extended attribute of a cgroup.
        bpf_dynptr_memset Fills the data of a dynptr with one byte.
        bpf_arena_reserve_pages+s Keeps pages of an arena from being allocated.
        bpf_strcmp Compares two strings.
        bpf_strchr Finds a character in a string.
        bpf_strchrnul Finds a character in a string, or its end.
        bpf_strnchr Finds a character in the first bytes of a string.
        bpf_strrchr Finds the last place of a character in a string.
        bpf_strlen Length of a string.
        bpf_strnlen Length of a string, up to a limit.
        bpf_strspn Length of the start of a string that has only some characters.
        bpf_strcspn Length of the start of a string that has none of some characters.
        bpf_strstr Finds a string in another one.
        bpf_strnstr Finds a string in the first bytes of another one.
        bpf_stream_vprintk_impl Writes formatted text to a stream of the program.
    """),
    *rows("all", "6.18", """
        bpf_strcasecmp Compares two strings whatever the case of letters.
        bpf_task_work_schedule_signal_impl+t Has a callback run in a task, waking it as a signal does.
        bpf_task_work_schedule_resume_impl+t Has a callback run in a task before it returns to user space.
    """),
    *rows("tests", "5.18", """
        bpf_kfunc_call_test_release+r Gives back an object of the kernel's own tests.
        bpf_kfunc_call_memb_release+r Gives back a member of an object of the kernel's own tests.
    """),
)  # fmt: skip
