//! The committed state as text.

use core::fmt::Write as _;

use crate::state::State;

/// Every fact of the state in a fixed order. Two states with the same dump answer alike.
pub(crate) fn dump(state: &State) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(state, &mut out);
    out
}

fn write(state: &State, out: &mut String) -> core::fmt::Result {
    writeln!(
        out,
        "position {} id {} tenants {}",
        state.position,
        state.last_message_id,
        state.tenants.len()
    )?;
    for index in 0..state.conversation_count() as u32 {
        let entry = state.conversation(index);
        writeln!(
            out,
            "conversation {index} {} {:?}",
            state.conversation_id(index),
            entry.shape
        )?;
        write_conversation(state, index, out)?;
    }
    for index in 0..state.user_count() as u32 {
        let (name, tenant) = (state.user_name(index), state.user_tenant(index));
        writeln!(
            out,
            "user {index} {name} of {tenant} {:?}",
            state.user(index)
        )?;
    }
    let mut acks: Vec<_> = state.acks.iter().collect();
    acks.sort_unstable();
    writeln!(out, "acks {acks:?}")?;
    writeln!(out, "first expiry {}", state.first_expiry_ms)?;
    writeln!(out, "keys {:?}", state.command_keys.sorted())
}

fn write_conversation(state: &State, index: u32, out: &mut String) -> core::fmt::Result {
    let entry = state.conversation(index);
    writeln!(
        out,
        " of {} staged {} current {}",
        entry.tenant,
        entry.staged,
        entry.members.current()
    )?;
    for member in entry.members.all() {
        writeln!(out, " {} {member:?}", state.user_name(member.user))?;
    }
    for (seq, how) in entry.alterations() {
        writeln!(out, " {seq} {how:?}")?;
    }
    let mut written = Ok(());
    let read = state
        .rows(index, 0)
        .ascending(1..entry.head() + 1, &mut |seq, row| {
            written = writeln!(out, " {seq} {row:?}");
            written.is_ok()
        });
    if let Err(error) = read {
        writeln!(out, " {error}")?;
    }
    written
}
