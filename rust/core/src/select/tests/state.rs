//! The risks: a state that is read back wrong, or although it is damaged; one that
//! changes when a chunk is refused or stopped; hashes that change.

use super::*;
use crate::scores::Unit;
use crate::select::ids::hash_bytes;

fn entropy() -> Criterion {
    Criterion::Score(Score::new(Measure::Entropy))
}

fn case(matrix: Matrix<'_>, criterion: Criterion, k: usize) -> Case<'_> {
    Case {
        matrix,
        criterion,
        k,
        ties: Ties::First,
        mask: None,
        skip_invalid: false,
    }
}

fn pool(rows: usize) -> Vec<f32> {
    let values = rows_of(Rarity::Random, rows, 3, &mut Rng(1));
    values.into_iter().map(|x| x as f32).collect()
}

fn criteria() -> Vec<Criterion> {
    let mut all: Vec<Criterion> = scores().into_iter().map(Criterion::Score).collect();
    for unit in [Unit::Base(2.0), Unit::Normalized] {
        let score = Score::new(Measure::Entropy);
        all.push(Criterion::Score(Score { unit, ..score }));
    }
    all.push(Criterion::Random(u64::MAX));
    for (weight, beta) in [(Weight::Power, 0.25_f64), (Weight::Softmax, 1e30)] {
        let (seed, score) = (beta.to_bits(), Score::new(Measure::Ratio));
        all.push(Criterion::Noisy(Some(score), Noise { weight, beta, seed }));
    }
    all
}

#[test]
fn a_state_survives_being_stored() {
    let values = pool(200);
    let matrix = Matrix::from_slice(&values, 200, 3).expect("fits");
    let numbers: Vec<i64> = (0..200).map(|i| (i * 37 % 200 - 50) << 40).collect();
    for (n, criterion) in criteria().into_iter().enumerate() {
        let mut case = case(matrix, criterion, [1, 10, 150, 500][n % 4]);
        case.ties = [Ties::First, Ties::Random(77)][n % 2];
        let mut original = case.selector(&HashSet::from([numbers[3], numbers[150]]));
        let first = case.update(&mut original, None, 0..120, &numbers[..120]);
        first.expect("selected");
        let mut restored = Selector::from_bytes(&original.to_bytes()).expect("stored");
        assert_eq!(restored.to_bytes(), original.to_bytes());
        for selector in [&mut original, &mut restored] {
            let rest = case.update(selector, None, 120..200, &numbers[120..]);
            rest.expect("selected");
        }
        assert_eq!(restored.rows(), 200);
        assert_eq!(restored.k(), case.k);
        assert_eq!(restored.finish(&exec(None)), original.finish(&exec(None)));
        original
            .merge(&case.selector(&HashSet::from([numbers[150], numbers[3]])))
            .expect("alike");
    }
    // Before the first chunk, too.
    let empty = Selector::<i64>::new(entropy(), 3, Ties::First, HashSet::new());
    let bytes = Selector::<i64>::from_bytes(&empty.to_bytes())
        .expect("stored")
        .to_bytes();
    assert_eq!(bytes, empty.to_bytes());
}

/// A state with ids of variable length, excluded ones among them.
fn stored_strings() -> Vec<u8> {
    let values = pool(9);
    let case = case(
        Matrix::from_slice(&values, 9, 3).expect("fits"),
        entropy(),
        4,
    );
    let offsets = [0, 1, 3, 3, 9, 10, 11, 12, 13, 15];
    let ids = Strings::new(&offsets, "aé document".as_bytes().repeat(2).leak()).expect("fits");
    let mut selector = case.selector(&HashSet::from(["x".as_bytes().into()]));
    case.update(&mut selector, None, 0..9, ids)
        .expect("selected");
    selector.to_bytes()
}

#[test]
fn damaged_states_are_refused() {
    type Strings = Selector<Box<[u8]>>;
    let bytes = stored_strings();
    assert!(Strings::from_bytes(&bytes).is_ok());
    assert_eq!(id_kind(&bytes), Some(IdKind::Strings));
    assert_eq!(id_kind(b"pickwis2"), None);
    let old = Strings::from_bytes(&[b"pickwis1", &bytes[8..]].concat());
    assert!(old.is_err_and(|e| e.to_string().contains("version")));
    assert!(Selector::<i64>::from_bytes(&bytes).is_err());
    for len in 0..bytes.len() {
        assert!(Strings::from_bytes(&bytes[..len]).is_err(), "cut at {len}");
    }
    assert!(Strings::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    for at in 0..bytes.len() {
        for flip in 1..=u8::MAX {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert!(Strings::from_bytes(&damaged).is_err(), "byte {at} ^ {flip}");
        }
    }
}

proptest! {
    /// Damage that the checksum does not catch is read or refused, but does no harm.
    #[test]
    fn forged_states_do_no_harm(edits in prop::collection::vec((8_usize..200, any::<u8>()), 1..4)) {
        let mut bytes = stored_strings();
        let end = bytes.len() - 8;
        for (at, byte) in edits {
            bytes[8 + at % (end - 8)] = byte;
        }
        let sum = hash_bytes(&bytes[..end], 0);
        bytes[end..].copy_from_slice(&sum.to_le_bytes());
        if let Ok(selector) = Selector::<Box<[u8]>>::from_bytes(&bytes) {
            let k = selector.k();
            prop_assert!(selector.finish(&exec(None)).expect("sorted").len() <= k);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut values = pool(50);
    values[20 * 3 + 1] = f32::NAN;
    values[30 * 3] = -1.0;
    let matrix = Matrix::from_slice(&values, 50, 3).expect("fits");
    let mut case = case(matrix, entropy(), 5);
    let mut selector = case.selector(&HashSet::new());
    case.update(&mut selector, None, 0..10, Positions { start: 0 })
        .expect("selected");
    let before = selector.to_bytes();
    let mut refuse = |case: &Case<'_>, rows: Range<usize>| {
        let ids = Positions {
            start: rows.start as i64,
        };
        let got = case.update(&mut selector, None, rows, ids);
        assert_eq!(selector.to_bytes(), before);
        got
    };
    // The report counts rows from the beginning of the stream.
    let found = refuse(&case, 10..50)
        .expect("a report")
        .expect("invalid rows");
    assert_eq!((found.row, found.count), (20, 2));
    assert!(matches!(found.why, Invalid::Value(1, x) if x.is_nan()));
    // Rows that are excluded may be anything.
    case.mask = Some((0..50).map(|row| u8::from(row == 20) * 3).collect());
    let found = refuse(&case, 10..50)
        .expect("a report")
        .expect("an invalid row");
    assert_eq!((found.row, found.count), (30, 1));
    assert!(matches!(found.why, Invalid::Value(0, -1.0)));

    let chunk = Chunk {
        matrix: Some(matrix),
        rows: 50,
        exclude: Some(&[0; 49]),
        skip_invalid: true,
        places: Places::Next,
    };
    let mut update = |chunk: Chunk<'_>| {
        let got = selector.update(&exec(None), &chunk, Positions { start: 10 });
        assert!(matches!(got, Err(Error::Shape(_))), "{got:?}");
        assert_eq!(selector.to_bytes(), before);
    };
    update(chunk);
    update(Chunk {
        rows: 51,
        exclude: None,
        ..chunk
    });
    update(Chunk {
        matrix: None,
        exclude: None,
        ..chunk
    });
}

#[test]
fn nothing_is_selected_where_nothing_was_asked_for() {
    let values = pool(200);
    let case = case(
        Matrix::from_slice(&values, 200, 3).expect("fits"),
        entropy(),
        0,
    );
    let mut selector = case.selector(&HashSet::new());
    let found = case.update(&mut selector, None, 0..200, Positions { start: 0 });
    assert_eq!(found, Ok(None));
    assert_eq!(selector.finish(&exec(None)), Ok(Vec::new()));
}

#[test]
fn only_selections_of_a_kind_merge() {
    let values = pool(20);
    let matrix = Matrix::from_slice(&values, 20, 3).expect("fits");
    let case = case(matrix, entropy(), 5);
    let numbers: Vec<i64> = (0..20).collect();
    let mut with_ids = case.selector(&HashSet::new());
    case.update(&mut with_ids, None, 0..20, &numbers[..])
        .expect("selected");
    let mut without = case.selector(&HashSet::new());
    case.update(&mut without, None, 0..20, Positions { start: 0 })
        .expect("selected");
    let fresh = |criterion, k, ties, ids: &[i64]| {
        Selector::new(criterion, k, ties, ids.iter().copied().collect())
    };
    let before = with_ids.to_bytes();
    for other in [
        fresh(Criterion::Random(1), 5, Ties::First, &[]),
        fresh(entropy(), 6, Ties::First, &[]),
        fresh(entropy(), 5, Ties::Random(0), &[]),
        fresh(entropy(), 5, Ties::First, &[4]),
    ] {
        assert!(matches!(with_ids.merge(&other), Err(Error::Mismatch(_))));
        assert_eq!(with_ids.to_bytes(), before);
    }
    // Both would number their rows from zero.
    assert!(without.clone().merge(&without).is_err());
    let mut empty = case.selector(&HashSet::new());
    empty.merge(&without).expect("nothing in the way");
    assert_eq!(empty.finish(&exec(None)), without.finish(&exec(None)));
}

/// A pool that would take a minute, were it not cancelled: one row, told often.
#[test]
fn a_cancelled_update_stops_and_changes_nothing() {
    let row = [0.2_f32, 0.3, 0.5];
    let rows = 1 << 32;
    // SAFETY: a stride of zero reaches no further than the row.
    let matrix =
        unsafe { Matrix::from_raw_parts(row.as_ptr().cast(), (rows, 3), (0, 4), ElementKind::F32) };
    let case = case(matrix, entropy(), 5);
    for pool in [None, Some(&threads(2))] {
        let mut selector = case.selector(&HashSet::new());
        case.update(&mut selector, None, 0..9, Positions { start: 0 })
            .expect("selected");
        let before = selector.to_bytes();
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let exec = Exec {
            cancel: &cancel,
            done: &done,
            ..exec(pool)
        };
        let chunk = Chunk {
            matrix: Some(matrix),
            rows,
            exclude: None,
            skip_invalid: false,
            places: Places::Next,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                cancel.store(true, Ordering::Relaxed);
            });
            let got = selector.update(&exec, &chunk, Positions { start: 9 });
            assert_eq!(got.map(|_| ()), Err(Error::Cancelled));
        });
        assert!(done.load(Ordering::Relaxed) < rows / 2);
        assert_eq!(selector.to_bytes(), before);
    }
}

/// Every row is as likely as any other, whatever its place.
#[test]
fn random_choices_are_fair_and_repeatable() {
    let values = [0.25_f32; 100 * 4];
    let matrix = Matrix::from_slice(&values, 100, 4).expect("fits");
    for by_ties in [true, false] {
        let mut times = [0; 100];
        for seed in 0..1000 {
            let case = Case {
                ties: if by_ties {
                    Ties::Random(seed)
                } else {
                    Ties::First
                },
                ..case(
                    matrix,
                    if by_ties {
                        entropy()
                    } else {
                        Criterion::Random(seed)
                    },
                    10,
                )
            };
            let mut selector = case.selector(&HashSet::new());
            case.update(&mut selector, None, 0..100, Positions { start: 0 })
                .expect("any");
            for entry in selector.finish(&exec(None)).expect("sorted") {
                times[entry.index as usize] += 1;
            }
        }
        // A hundred, give or take five standard deviations.
        assert!(times.iter().all(|n| (53..=147).contains(n)), "{times:?}");
    }
}

/// States travel between machines and versions, so these may never change.
#[test]
fn ties_are_what_they_have_always_been() {
    let positions = Positions { start: 5 };
    let got = [
        positions.tie(0, Ties::First),
        positions.tie(0, Ties::Random(0)),
        (&[-1_i64][..]).tie(0, Ties::Random(42)),
        Strings::new(&[0, 9], b"document-")
            .expect("fits")
            .tie(0, Ties::First),
        Strings::new(&[0, 9], b"document-")
            .expect("fits")
            .tie(0, Ties::Random(42)),
        hash_bytes(b"", 0),
    ];
    let want = [
        0x8000_0000_0000_0005,
        13211940286232837798,
        8331449628637812266,
        u64::from_be_bytes(*b"document"),
        3824242786728056291,
        16294208416658607535,
    ];
    assert_eq!(got, want);
}

#[test]
fn offsets_that_do_not_fit_are_refused() {
    for offsets in [&[][..], &[-1, 2], &[0, 2, 1], &[0, 4]] {
        assert!(Strings::new(offsets, b"abc").is_err(), "{offsets:?}");
    }
    let ids = Strings::new(&[1, 1, 3], b"abc").expect("fits");
    assert_eq!((ids.len(), ids.is_empty()), (2, false));
    assert_eq!((ids.bytes(0), ids.bytes(1)), (&b""[..], &b"bc"[..]));
}
