//! Tells callgrind what to count: valgrind's client requests (valgrind.h, callgrind.h), which are
//! a sequence of instructions without effect anywhere else.

/// `VG_USERREQ__RUNNING_ON_VALGRIND`
const RUNNING_ON_VALGRIND: usize = 0x1001;
/// `VG_USERREQ_TOOL_BASE('C', 'T')`
const CALLGRIND: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16;
const ZERO_STATS: usize = CALLGRIND + 1;
const TOGGLE_COLLECT: usize = CALLGRIND + 2;
const DUMP_STATS_AT: usize = CALLGRIND + 3;

/// Sends a request with one argument; answers 0 outside of valgrind.
#[cfg(target_arch = "x86_64")]
fn request(code: usize, argument: usize) -> usize {
    let arguments = [code, argument, 0, 0, 0, 0];
    let mut result = 0usize;
    // SAFETY: the four rotations by 128 bits in all leave rdi as it was, and exchanging rbx with
    // itself changes nothing: on a processor only the flags change, which asm! assumes anyway.
    // Under valgrind `arguments` is read, and through its second element a string that ends in 0.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") result,
            options(nostack),
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_code: usize, _argument: usize) -> usize {
    0
}

/// Whether anybody counts.
pub(crate) fn is_valgrind() -> bool {
    request(RUNNING_ON_VALGRIND, 0) != 0
}

/// Counts the instructions of `body`, which does `operations` operations, under `name`.
pub(crate) fn counted(name: &str, operations: usize, body: impl FnOnce()) {
    let label = format!("{name} {operations}\0");
    request(ZERO_STATS, 0);
    request(TOGGLE_COLLECT, 0);
    body();
    request(TOGGLE_COLLECT, 0);
    request(DUMP_STATS_AT, label.as_ptr() as usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_valgrind_the_body_runs_and_nothing_else_happens() {
        let mut runs = 0;
        counted("test", 1, || runs += 1);
        assert_eq!((runs, is_valgrind()), (1, false));
    }
}
