//! The risks of sorting by dealing out: rows that are lost, doubled or out of order
//! where scores crowd, tie or go to extremes; and work that cannot be stopped.

use super::*;
use crate::select::sort::sort;

/// Scores that are hard to deal out evenly.
fn hard_scores(rows: usize, rng: &mut Rng) -> Vec<(&'static str, Vec<f64>)> {
    const EXTREMES: [f64; 8] = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        -1.5,
    ];
    let mut make = |f: &dyn Fn(&mut Rng) -> f64| (0..rows).map(|_| f(rng)).collect::<Vec<_>>();
    vec![
        ("even", make(&|rng| rng.unit())),
        ("equal", make(&|_| 0.25)),
        ("zeros", make(&|rng| [0.0, -0.0][rng.below(2)])),
        ("few", make(&|rng| rng.below(5) as f64)),
        ("extremes", make(&|rng| EXTREMES[rng.below(8)])),
        (
            "extremes and even",
            make(&|rng| match rng.below(9) {
                0..4 => EXTREMES[rng.below(8)],
                _ => rng.unit() - 0.5,
            }),
        ),
        // Neighbours in the last bits, and a few rows far away.
        (
            "crowded",
            make(&|rng| match rng.below(1000) {
                0 => rng.unit() * 1e300,
                _ => f64::from_bits(0.5_f64.to_bits() + rng.next() % 4096),
            }),
        ),
        (
            "any bits",
            make(&|rng| match f64::from_bits(rng.next()) {
                x if x.is_nan() => 0.0,
                x => x,
            }),
        ),
        ("skewed", make(&|rng| rng.unit().powi(40))),
    ]
}

fn check<K: Key + std::fmt::Debug>(
    what: &str,
    rows: &[Row<K>],
    ties: Ties,
    pool: Option<&ThreadPool>,
    rng: &mut Rng,
) {
    let mut want = rows.to_vec();
    want.sort_by(|a, b| a.order(b, ties));
    let first = rng.below(rows.len());
    for wanted in [rows.len(), rows.len() / 3, 1, 0] {
        let parts = vec![&rows[..first], &[], &rows[first..]];
        let (mut scores, mut indices) = (vec![0.0; wanted], vec![0; wanted]);
        let mut ids = vec![rows[0].id; wanted];
        let columns = Columns {
            scores: &mut scores,
            indices: &mut indices,
            ids: &mut ids,
        };
        sort(&exec(pool), ties, parts, |row| *row, columns).expect("sorted");
        for (at, row) in want[..wanted].iter().enumerate() {
            let got = (scores[at].to_bits(), indices[at], ids[at]);
            assert_eq!(
                got,
                (row.score.to_bits(), row.index, row.id),
                "{what} {ties:?} {wanted} at {at}"
            );
        }
    }
}

#[test]
fn dealing_out_sorts_whatever_the_scores() {
    let count = 150_000;
    let mut rng = Rng(3);
    let pools = [1, 2, 5].map(threads);
    let mut numbers: Vec<i64> = (0..count as i64).map(|i| (i - 9) << 20).collect();
    rng.shuffle(&mut numbers);
    // Strings that share their first words, or repeat.
    let mut strings: Vec<String> = (0..count)
        .map(|i| match i % 4 {
            0 => format!("document-of-the-pool-{i}"),
            1 => format!("{i}"),
            2 => "\0".repeat(i % 40),
            _ => format!("document-of-the-pool-{}\0", i - 3),
        })
        .collect();
    rng.shuffle(&mut strings);
    for (what, scores) in hard_scores(count, &mut rng) {
        for ties in [Ties::First, Ties::Random(rng.next())] {
            let pool = pools.get(rng.below(4));
            let row = |index: usize| (scores[index], index as i64);
            let positions = (0..count).map(row).map(|(score, index)| Row {
                score,
                index,
                id: Position,
            });
            check(what, &positions.collect::<Vec<_>>(), ties, pool, &mut rng);
            let own = (0..count).map(row).map(|(score, index)| Row {
                score,
                index,
                id: numbers[index as usize],
            });
            check(what, &own.collect::<Vec<_>>(), ties, pool, &mut rng);
            let named = (0..count).map(row).map(|(score, index)| Row {
                score,
                index,
                id: strings[index as usize].as_bytes(),
            });
            check(what, &named.collect::<Vec<_>>(), ties, pool, &mut rng);
        }
    }
}

/// Chunks that fill the buffer more than once, with rows that tie.
#[test]
fn large_selections_of_many_chunks_are_as_of_one() {
    let (rows, cols) = (240_000, 2);
    let mut rng = Rng(8);
    let pool = threads(2);
    let values: Vec<f32> = (0..rows)
        .map(|_| rng.below(3000) as f32 / 6000.0)
        .flat_map(|p| [p, 1.0 - p])
        .collect();
    let matrix = Matrix::from_slice(&values, rows, cols).expect("fits");
    let score = Score::new(Measure::Margin);
    let scored = double(&score, &matrix);
    for ties in [Ties::First, Ties::Random(4)] {
        let want = naive(&scored, &Positions { start: 0 }, ties, |_| true);
        for k in [30_000, 70_000, rows] {
            let case = Case {
                matrix,
                criterion: Criterion::Score(score),
                k,
                ties,
                mask: None,
                skip_invalid: false,
            };
            let mut selector = case.selector(&HashSet::new());
            for start in (0..rows).step_by(50_000) {
                let chunk = start..rows.min(start + 50_000);
                let ids = Positions {
                    start: start as i64,
                };
                case.update(&mut selector, Some(&pool), chunk, ids)
                    .expect("selected");
            }
            let stored = Selector::<Position>::from_bytes(&selector.to_bytes()).expect("stored");
            for selector in [selector, stored] {
                let got = selector.finish(&exec(Some(&pool))).expect("sorted");
                let got: Vec<usize> = got.iter().map(|e| e.index as usize).collect();
                assert!(got == want[..k], "{ties:?} {k}");
            }
        }
    }
}

/// A selection that is stopped while it sorts can be finished later.
#[test]
fn a_cancelled_finish_stops_and_changes_nothing() {
    let rows = 200_000;
    let mut rng = Rng(5);
    let values: Vec<f32> = (0..rows).map(|_| rng.unit() as f32).collect();
    let values: Vec<f32> = values.iter().flat_map(|p| [*p, 1.0 - p]).collect();
    let matrix = Matrix::from_slice(&values, rows, 2).expect("fits");
    let case = Case {
        matrix,
        criterion: Criterion::Score(Score::new(Measure::Margin)),
        k: rows,
        ties: Ties::First,
        mask: None,
        skip_invalid: false,
    };
    for pool in [None, Some(&threads(2))] {
        let mut selector = case.selector(&HashSet::new());
        case.update(&mut selector, pool, 0..rows, Positions { start: 0 })
            .expect("selected");
        let before = selector.to_bytes();
        let cancel = AtomicBool::new(true);
        let stopped = Exec {
            cancel: &cancel,
            ..exec(pool)
        };
        assert_eq!(selector.finish(&stopped), Err(Error::Cancelled));
        assert_eq!(selector.to_bytes(), before);
        let got = selector.finish(&exec(pool)).expect("sorted");
        assert!(got.is_sorted_by(|a, b| a.score >= b.score) && got.len() == rows);
    }
}
