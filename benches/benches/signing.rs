//! CPU time of one party, beside the rival's.
//!
//! A pair of benchmarks is interleaved: every iteration of either runs both sides once and counts
//! its own, so that whatever else the machine does hits both.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use tsm_benches::{clocked, cpu_time, floor, ours, rival};
use tsm_types::{CurveId, PlayerIndex};

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).without_plots();
    targets = signing, presigning, joining, single_signer, setting_up
}
criterion_main!(benches);

/// One party's part of a signature on warm pairs: what all parties compute, divided by their
/// number. Nobody joins here.
fn signing(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("sign");
    group.sample_size(100).measurement_time(Duration::from_secs(4));
    for signers in [2, 3] {
        let (mut network, shares) = our_key(CurveId::Secp256k1);
        let mut theirs = rival::Network::new(signers, 3);
        let parties = theirs.deal_key::<k256::Secp256k1>();
        contest(
            &mut group,
            &format!("secp256k1 {signers} of 3"),
            u32::from(signers),
            || network.sign(&shares, usize::from(signers)),
            || theirs.sign(&parties),
        );
    }
    let (mut network, shares) = our_key(CurveId::P256);
    let mut theirs = rival::Network::new(2, 3);
    let parties = theirs.deal_key::<p256::NistP256>();
    contest(&mut group, "P-256 2 of 3", 2, || network.sign(&shares, 2), || theirs.sign(&parties));
    group.finish();
}

/// One presignature of a batch, for one party; and what becomes of it later, at one node.
fn presigning(criterion: &mut Criterion<CpuTime>) {
    const BATCH: u16 = 64;
    let mut group = criterion.benchmark_group("presign");
    group.sample_size(30).measurement_time(Duration::from_secs(4));
    for signers in [2_u16, 3] {
        let (mut network, shares) = our_key(CurveId::Secp256k1);
        group.bench_function(format!("secp256k1 {signers} of 3, batch of {BATCH}/ours"), |bencher| {
            bencher.iter_custom(|iterations| {
                let made = || clocked(|| network.presign(&shares, usize::from(signers), BATCH));
                sum(iterations, made) / u32::from(signers) / u32::from(BATCH)
            });
        });
    }
    let (mut network, shares) = our_key(CurveId::Secp256k1);
    group.bench_function("secp256k1 online, one partial signature/ours", |bencher| {
        bencher.iter_custom(|iterations| {
            // The clock is read twice for a batch, so that its reading does not count.
            let batches = iterations.div_ceil(u64::from(BATCH));
            let all = sum(batches, || {
                let made = network.presign(&shares, 2, BATCH).swap_remove(0);
                clocked(|| made.into_iter().map(ours::use_presignature).collect::<Vec<_>>())
            });
            all.mul_f64(iterations as f64 / (batches * u64::from(BATCH)) as f64)
        });
    });
    let mut made = network.presign(&shares, 2, 1).into_iter().flatten();
    let partials: Vec<_> = made.by_ref().map(ours::use_presignature).collect();
    group.bench_function("secp256k1 online, join and verify/ours", |bencher| {
        bencher.iter(|| ours::join_and_verify(&partials));
    });
    group.finish();
}

/// Joining the parts of two signers, with verification: once for each signature.
fn joining(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("join");
    let (mut network, shares) = our_key(CurveId::Secp256k1);
    let partials = network.sign(&shares, 2);
    let mut theirs = rival::Network::new(2, 3);
    let parties = theirs.deal_key::<k256::Secp256k1>();
    // Their last step consumes the session, so each needs a run of its own.
    group.sample_size(50).measurement_time(Duration::from_secs(3));
    group.bench_function("secp256k1 2 of 3/ours", |bencher| {
        bencher.iter_custom(|iterations| {
            sum(iterations, || {
                black_box(theirs.sign(&parties).join_and_verify());
                clocked(|| ours::join_and_verify(&partials))
            })
        });
    });
    group.bench_function("secp256k1 2 of 3/rival", |bencher| {
        bencher.iter_custom(|iterations| {
            sum(iterations, || {
                black_box(ours::join_and_verify(&partials));
                let run = theirs.sign(&parties);
                clocked(|| run.join_and_verify())
            })
        });
    });
    group.finish();
}

/// What one signer with the whole key needs.
fn single_signer(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("single signer");
    group.sample_size(50).measurement_time(Duration::from_secs(2));
    let (rust, c) = (floor::K256::new(), floor::Libsecp256k1::new());
    group.bench_function("sign/k256", |bencher| bencher.iter(|| rust.sign()));
    group.bench_function("sign/secp256k1", |bencher| bencher.iter(|| c.sign()));
    let signature = rust.sign();
    group.bench_function("verify/k256", |bencher| bencher.iter(|| rust.verify(&signature)));
    let signature = c.sign();
    group.bench_function("verify/secp256k1", |bencher| bencher.iter(|| c.verify(&signature)));
    group.finish();
}

/// Key generation and pair set-up. The rival's key generation sets its pairs up as well, so it is
/// beside our sum of both.
fn setting_up(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("set up");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    let mut network = ours::Network::new(3);
    let mut theirs = rival::Network::new(2, 3);
    contest(
        &mut group,
        "secp256k1 key and pairs 2 of 3",
        3,
        || {
            network.set_up_pairs();
            network.generate_key(CurveId::Secp256k1, 1)
        },
        || theirs.generate_key::<k256::Secp256k1>(),
    );
    group.sample_size(30);
    for curve in [CurveId::Secp256k1, CurveId::P256] {
        group.bench_function(format!("{} key alone 2 of 3/ours", curve.name()), |bencher| {
            bencher
                .iter_custom(|iterations| sum(iterations, || clocked(|| network.generate_key(curve, 1))) / 3);
        });
    }
    group.bench_function("pair/ours", |bencher| {
        bencher.iter_custom(|iterations| {
            sum(iterations, || clocked(|| network.set_up_pair(PlayerIndex(0), PlayerIndex(1)))) / 2
        });
    });
    group.finish();
}

/// A key of three players, one of whom may be bad, and warm pairs.
fn our_key(curve: CurveId) -> (ours::Network, ours::Shares) {
    let mut network = ours::Network::new(3);
    network.set_up_pairs();
    let shares = network.generate_key(curve, 1);
    (network, shares)
}

/// Both sides of one row, interleaved; the time of a run is divided by its parties.
fn contest<A, B>(
    group: &mut BenchmarkGroup<'_, CpuTime>,
    name: &str,
    parties: u32,
    mut ours: impl FnMut() -> A,
    mut rival: impl FnMut() -> B,
) {
    group.bench_function(format!("{name}/ours"), |bencher| {
        bencher.iter_custom(|iterations| {
            sum(iterations, || {
                black_box(rival());
                clocked(&mut ours)
            }) / parties
        });
    });
    group.bench_function(format!("{name}/rival"), |bencher| {
        bencher.iter_custom(|iterations| {
            sum(iterations, || {
                black_box(ours());
                clocked(&mut rival)
            }) / parties
        });
    });
}

fn sum(iterations: u64, mut once: impl FnMut() -> Duration) -> Duration {
    (0..iterations).map(|_| once()).sum()
}

/// CPU time of the process: what other processes take does not count, though it still slows down
/// caches and the clock.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu_time()
    }

    fn end(&self, start: Duration) -> Duration {
        cpu_time().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
