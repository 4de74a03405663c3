//! The deterministic state of one partition: commands in; conversations, membership, rows, cursors
//! and answers out.
//!
//! ```text
//! incoming commands ─ begin ─▶ records ─ sequencer (elsewhere) ─▶ finish ─▶ batch for the log
//!                                                                   │
//!                            rollback ◀─ log failed ─┴─ log durable ─▶ commit ─▶ outcomes, deliveries
//! ```
//!
//! Rust owns conversations, membership, rights, rows and cursors; the sequencer owns numbers and
//! the idempotency keys of sends. No socket, file or clock is touched: time is an argument, and
//! the log's batches give the same state again. With an archive ([`Partition::restore`]) old rows leave
//! memory and are read from there; the log is then folded from where the archive has come.

pub mod archive;
mod command;
mod command_keys;
mod config;
mod conversation;
mod cursors;
mod dump;
mod fold;
mod gather;
mod hash;
mod interner;
mod members;
mod outcome;
mod partition;
mod query;
mod receipts;
pub mod record;
mod reshard;
mod restore;
mod rows;
mod state;
mod state_keys;

pub use command::Command;
pub use config::{FOLD_VERSION, Limits, PartitionConfig};
pub use cursors::Noted;
pub use members::Role;
pub use outcome::{
    Audience, Change, Committed, Delivery, DeliveryPage, Disagreement, Incoming, LogBatch, Outcome,
    Refused, ReplayError, RowKind,
};
pub use partition::Partition;
pub use query::{
    CatchUpFrom, CatchUpRow, ConversationKind, ConversationsPage, Cursor, EphemeralTarget,
    HistoryPage, HistoryRow, MemberInfo, MembersPage, Page, QueryError, Summary, Who, Window,
};
pub use receipts::{Receipt, ReceiptCounts};
pub use record::{RECORD_BYTES, Record};
pub use reshard::{Digest, Source, reshard};
pub use restore::RestoreError;
pub use state_keys::{LAYOUT_KEY, with_generation};
