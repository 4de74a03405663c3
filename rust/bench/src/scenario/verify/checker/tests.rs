use proptest::prelude::*;

use super::*;

const SENDER: u32 = 0;
const RECEIVER: u32 = 1;

fn row(seq: u64) -> Row {
    Row {
        seq,
        message_id: 1_000 + seq,
        timestamp_ms: 5,
        author: Author::Sender {
            user: SENDER,
            number: seq as u32,
        },
        content: 7 + seq as u32,
    }
}

fn checker() -> (Checker, ConversationIndex) {
    let mut checker = Checker::new(vec!["ann".into(), "bob".into()]);
    let at = checker.conversation("d.x");
    checker.expect(at, &[RECEIVER]);
    checker.session_began(RECEIVER);
    (checker, at)
}

fn pushes(checker: &mut Checker, at: ConversationIndex, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        checker.pushed(RECEIVER, at, &row(seq));
    }
}

/// Every kind with its seqs, each run of them as one.
fn found(checker: &mut Checker) -> Vec<(Kind, (u64, u64))> {
    checker.finish();
    let kept = checker.findings.kept();
    kept.iter()
        .map(|finding| (finding.kind, finding.seqs))
        .collect()
}

#[test]
fn a_row_that_never_comes_is_lost_and_the_finding_names_who_misses_what_where() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, [1, 2, 4]);
    checker.acknowledged(
        SENDER,
        at,
        &Row {
            content: 0,
            ..row(5)
        },
    );
    checker.finish();
    let [first, second] = checker.findings.kept() else {
        panic!("{:?}", checker.findings)
    };
    assert_eq!((first.kind, first.seqs), (Kind::Lost, (3, 3)));
    assert_eq!((&*first.user, &*first.conversation), ("bob", "d.x"));
    assert_eq!(second.seqs, (5, 5));
    assert!(
        second.detail.contains("1 acknowledged"),
        "{}",
        second.detail
    );
}

#[test]
fn a_row_that_comes_twice_in_a_session_is_repeated() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, [1, 2, 2, 3]);
    assert_eq!(found(&mut checker), [(Kind::Repeated, (2, 2))]);
}

#[test]
fn a_row_that_comes_behind_a_later_one_is_reordered() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, [1, 3, 2, 4]);
    assert_eq!(found(&mut checker), [(Kind::Reordered, (2, 2))]);
}

#[test]
fn rows_may_come_again_in_the_next_session_but_gapless_from_there_on() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, 1..=5);
    checker.session_began(RECEIVER);
    pushes(&mut checker, at, 3..=7);
    assert_eq!((checker.delivered, checker.again), (7, 3));
    checker.session_began(RECEIVER);
    pushes(&mut checker, at, [5, 7, 8]);
    // The jump in the overlap is no loss: the row was there before. A client drops what is old.
    assert_eq!(found(&mut checker), []);
}

#[test]
fn a_row_that_only_the_next_session_brings_was_skipped() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, [1, 2, 4]);
    checker.session_began(RECEIVER);
    pushes(&mut checker, at, 2..=5);
    assert_eq!(found(&mut checker), [(Kind::Skipped, (3, 3))]);
}

#[test]
fn a_session_that_begins_too_late_leaves_a_hole() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, 1..=3);
    checker.session_began(RECEIVER);
    pushes(&mut checker, at, 6..=7);
    assert_eq!(found(&mut checker), [(Kind::Lost, (4, 5))]);
}

#[test]
fn one_number_with_two_contents_is_a_conflict() {
    let changes: [fn(&mut Row); 4] = [
        |row| row.message_id += 1,
        |row| row.timestamp_ms += 1,
        |row| row.content += 1,
        |row| row.author = Author::Other,
    ];
    for change in changes {
        let (mut checker, at) = checker();
        pushes(&mut checker, at, [1]);
        let mut other = row(1);
        change(&mut other);
        checker.pushed(SENDER, at, &other);
        assert_eq!(found(&mut checker), [(Kind::Conflicting, (1, 1))]);
    }
}

#[test]
fn a_send_with_two_numbers_is_duplicated_and_both_are_named() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, [1, 2]);
    let second = Row {
        author: row(1).author,
        ..row(3)
    };
    checker.pushed(RECEIVER, at, &second);
    assert_eq!(found(&mut checker), [(Kind::Duplicated, (3, 3))]);
    assert!(checker.findings.kept()[0].detail.contains("seq 1 already"));
}

#[test]
fn an_answer_that_names_another_number_than_the_push_is_found() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, [1]);
    let answer = Row {
        content: 0,
        author: row(1).author,
        ..row(2)
    };
    checker.acknowledged(SENDER, at, &answer);
    let kinds: Vec<Kind> = found(&mut checker)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, [Kind::Duplicated, Kind::Lost]);
}

#[test]
fn claims_far_behind_are_forgotten_and_memory_stays_bounded() {
    let (mut checker, at) = checker();
    pushes(&mut checker, at, 1..=3 * CLAIMS_KEPT as u64);
    assert_eq!(checker.at(at).claims.len(), CLAIMS_KEPT);
    checker.pushed(RECEIVER, at, &row(10_000_000));
    assert!(checker.at(at).claims.len() <= CLAIMS_KEPT);
    let kinds: Vec<Kind> = found(&mut checker)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, [Kind::Lost]);
}

/// Sessions as a correct server makes them: each begins at or before what is missing.
fn sessions() -> impl Strategy<Value = Vec<Vec<u64>>> {
    let session = (0u64..5, 0u64..8);
    prop::collection::vec(session, 1..6).prop_map(|sessions| {
        let mut applied = 0u64;
        let rows = sessions.into_iter().map(|(back, ahead)| {
            let first = applied.saturating_sub(back) + 1;
            applied += ahead;
            (first..=applied).collect::<Vec<u64>>()
        });
        rows.collect()
    })
}

fn play(sessions: &[Vec<u64>]) -> Vec<(Kind, (u64, u64))> {
    let (mut checker, at) = checker();
    let head = sessions.iter().flatten().max().copied().unwrap_or(0);
    for session in sessions {
        checker.session_began(RECEIVER);
        pushes(&mut checker, at, session.iter().copied());
    }
    for seq in 1..=head {
        checker.acknowledged(
            SENDER,
            at,
            &Row {
                content: 0,
                ..row(seq)
            },
        );
    }
    found(&mut checker)
}

proptest! {
    #[test]
    fn what_a_correct_server_does_is_never_a_finding(sessions in sessions()) {
        prop_assert_eq!(play(&sessions), []);
    }

    #[test]
    fn one_loss_repeat_or_swap_anywhere_is_found(sessions in sessions(), at in any::<prop::sample::Index>()) {
        let rows: Vec<(usize, usize)> = (0..sessions.len())
            .flat_map(|s| (0..sessions[s].len()).map(move |r| (s, r)))
            .collect();
        prop_assume!(!rows.is_empty());
        let (session, index) = rows[at.index(rows.len())];
        let seq = sessions[session][index];
        let others = sessions.iter().enumerate().filter(|(other, _)| *other != session);
        let elsewhere = others.flat_map(|(_, rows)| rows).any(|&other| other == seq);

        let mut broken = sessions.clone();
        broken[session].insert(index + 1, seq);
        prop_assert_eq!(play(&broken), [(Kind::Repeated, (seq, seq))]);

        let head = sessions.iter().flatten().max().copied().unwrap_or(0);
        if !elsewhere && seq < head {
            let mut broken = sessions.clone();
            broken[session].remove(index);
            prop_assert_eq!(play(&broken), [(Kind::Lost, (seq, seq))]);
        }
        if index + 1 < sessions[session].len() {
            let mut broken = sessions.clone();
            broken[session].swap(index, index + 1);
            let found = play(&broken);
            prop_assert!(
                found.contains(&(Kind::Reordered, (seq, seq))),
                "swapped {} in {:?}: {:?}", seq, sessions, found
            );
        }
    }
}
