//! A partition with a plain sequencer and a log in memory, as the engine would run it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by test binaries of which each uses another part"
)]

pub mod archive;
pub mod commands;
pub mod model;
pub mod operations;
pub mod sequencer;
pub mod tiered;

use std::collections::VecDeque;

use imfast_partition::{
    Committed, Incoming, Limits, LogBatch, Outcome, Partition, PartitionConfig, QueryError,
    Refused, ReplayError, Who, Window,
};
use imfast_wire::frames::row::{BodyView, EventView, MessageView};
use imfast_wire::protobuf::Reader;
use sequencer::Sequencer;

pub const TENANT: &[u8] = b"default";

pub fn who(user: &str) -> Who<'_> {
    Who {
        tenant: TENANT,
        user,
        by_server: false,
    }
}

pub fn config(limits: Limits) -> PartitionConfig {
    PartitionConfig {
        partition: 0,
        count: 1,
        layout_generation: 1,
        hash_secret: *b"0123456789abcdef",
        limits,
    }
}

/// What a failed commit interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Begun,
    Numbered,
    Finished,
}

pub struct Owner {
    pub partition: Partition<usize>,
    pub sequencer: Sequencer,
    pub log: Vec<LogBatch>,
    pub time_ms: u64,
}

impl Owner {
    pub fn new(limits: Limits) -> Self {
        Self {
            partition: Partition::new(config(limits)),
            sequencer: Sequencer::default(),
            log: Vec::new(),
            time_ms: 1_763_899_999_000,
        }
    }

    fn begin(&mut self, commands: &[Vec<u8>]) {
        let mut incoming: VecDeque<_> = commands
            .iter()
            .enumerate()
            .map(|(origin, command)| Incoming {
                command: command.clone(),
                origin,
            })
            .collect();
        let taken = self
            .partition
            .begin(self.time_ms, &mut incoming, usize::MAX, usize::MAX);
        assert_eq!((taken, incoming.len()), (commands.len(), 0));
    }

    /// One batch from begin to commit.
    pub fn commit(&mut self, commands: &[Vec<u8>]) -> Committed<usize> {
        self.commit_at(commands, 0)
    }

    /// The same, its rows delivered at a time.
    pub fn commit_at(&mut self, commands: &[Vec<u8>], now_ms: u64) -> Committed<usize> {
        self.begin(commands);
        self.sequencer.number(self.partition.records_mut().0);
        let batch = self
            .partition
            .finish()
            .expect("the sequencer numbers as agreed");
        assert_eq!(batch.first_position, self.partition.position() + 1);
        let committed = self.partition.commit_at(now_ms);
        assert_eq!(
            self.partition.position() + 1,
            batch.first_position + u64::from(batch.count)
        );
        if batch.count > 0 {
            self.log.push(batch);
        }
        let origins: Vec<_> = committed
            .outcomes
            .iter()
            .map(|(origin, _)| *origin)
            .collect();
        assert_eq!(origins, (0..commands.len()).collect::<Vec<_>>());
        committed
    }

    /// The outcomes of one batch.
    pub fn run(&mut self, commands: &[Vec<u8>]) -> Vec<Outcome> {
        self.commit(commands)
            .outcomes
            .into_iter()
            .map(|(_, outcome)| outcome)
            .collect()
    }

    /// The outcome of one command, alone in its batch.
    pub fn one(&mut self, command: Vec<u8>) -> Outcome {
        self.run(&[command]).remove(0)
    }

    /// The seq of one command that must be accepted, alone in its batch.
    pub fn seq(&mut self, command: Vec<u8>) -> u64 {
        match self.one(command) {
            Outcome::Sent { seq, .. } | Outcome::Group { seq, .. } => seq,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub fn refusal(&mut self, command: Vec<u8>) -> Refused {
        match self.one(command) {
            Outcome::Refused(reason) => reason,
            other => panic!("accepted: {other:?}"),
        }
    }

    /// A batch that fails at some point. Nothing of it stays.
    pub fn fail(&mut self, commands: &[Vec<u8>], until: Until) {
        let before = self.partition.dump();
        let sequencer = self.sequencer.clone();
        self.begin(commands);
        if until != Until::Begun {
            self.sequencer.number(self.partition.records_mut().0);
        }
        if until == Until::Finished {
            self.partition
                .finish()
                .expect("the sequencer numbers as agreed");
        }
        let returned = self.partition.rollback();
        self.sequencer = sequencer;
        let returned: Vec<_> = returned
            .into_iter()
            .map(|incoming| incoming.command)
            .collect();
        assert_eq!(returned, commands);
        assert_eq!(self.partition.dump(), before);
    }

    /// A new owner that reads the log.
    pub fn reopened(&self) -> Result<Self, ReplayError> {
        let mut owner = Self::new(self.partition.config().limits.clone());
        for batch in &self.log {
            let commands = batch_commands(batch);
            owner
                .partition
                .replay_begin(batch.time_ms, commands.iter().copied())?;
            owner.sequencer.number(owner.partition.records_mut().0);
            owner.partition.replay_finish_commit()?;
            owner.log.push(batch.clone());
        }
        owner.time_ms = self.time_ms;
        Ok(owner)
    }

    /// What a user sees of a conversation: number and text of each row.
    pub fn seen(&self, user: &str, conversation: &str) -> Result<Vec<(u64, String)>, Refused> {
        let all = usize::MAX;
        let page =
            match self
                .partition
                .history(who(user), conversation, Window::Latest, all, all, 0)
            {
                Ok(page) => page,
                Err(QueryError::Refused(refused)) => return Err(refused),
                Err(QueryError::Archive(error)) => panic!("{error}"),
            };
        assert!(!page.more);
        Ok(page
            .rows
            .iter()
            .map(|row| (row.seq, text_of(&row.row)))
            .collect())
    }

    pub fn seen_seqs(&self, user: &str, conversation: &str) -> Vec<u64> {
        let rows = self
            .seen(user, conversation)
            .expect("the user is or was a member");
        rows.into_iter().map(|(seq, _)| seq).collect()
    }
}

/// The commands of a logged batch.
pub fn batch_commands(batch: &LogBatch) -> Vec<&[u8]> {
    let mut reader = Reader::new(&batch.payload);
    let commands: Vec<_> = (0..batch.count)
        .map(|_| {
            let length = reader.varint().expect("a length");
            reader.take(length as usize).expect("a command")
        })
        .collect();
    assert!(reader.rest().is_empty());
    commands
}

/// A row as one line: `alice: hi` or `alice joined bob,carol`.
pub fn text_of(row: &[u8]) -> String {
    let message = MessageView::parse(row).expect("a message row");
    let event = EventView::parse(row).expect("an event row");
    if matches!(event.kind, "created" | "joined" | "left" | "removed") {
        let users: Vec<_> = event.users().collect();
        return format!("{} {} {}", event.by, event.kind, users.join(","));
    }
    let Some(BodyView::Text(text)) = message.body else {
        panic!("no text in {row:?}")
    };
    format!("{}: {text}", message.from)
}
