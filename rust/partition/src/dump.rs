//! The committed state as text.

use core::fmt::Write as _;

use crate::conversation::Conversation;
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
        "position {} id {} bytes {} tenants {}",
        state.position(),
        state.last_message_id,
        state.row_bytes,
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
        write_conversation(state, entry, out)?;
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
    writeln!(out, "keys {:?}", state.command_keys.sorted())?;
    writeln!(out, "places {:?}", state.places)
}

fn write_conversation(state: &State, entry: &Conversation, out: &mut String) -> core::fmt::Result {
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
    for seq in 1..=entry.head() {
        writeln!(out, " {seq} {:?}", entry.row(seq))?;
    }
    Ok(())
}
