//! Signing curves behind one trait (spec 2).
//!
//! The arithmetic is RustCrypto's; this module fixes encodings, checks and the per-curve numbers,
//! so that protocol code is written once. Decoding is strict (rule S-24): canonical, on the curve,
//! never the identity. All four curves have prime order, hence no subgroup to check.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::OnceLock;

use borsh::{BorshDeserialize, BorshSerialize};
use elliptic_curve::group::GroupEncoding;
use elliptic_curve::ops::Reduce;
use elliptic_curve::point::AffineCoordinates;
use elliptic_curve::subtle::{ConditionallySelectable, ConstantTimeEq};
use elliptic_curve::{BatchNormalize, CurveArithmetic, Group, PrimeField};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::fixed_base::FixedBase;

pub use elliptic_curve::Field;
pub use k256::Secp256k1;
pub use p256::NistP256 as P256;
pub use p384::NistP384 as P384;
pub use p521::NistP521 as P521;

/// The curves by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum CurveId {
    /// The curve of Bitcoin and Ethereum (SEC 2).
    Secp256k1 = 1,
    /// NIST P-256.
    P256 = 2,
    /// NIST P-384.
    P384 = 3,
    /// NIST P-521.
    P521 = 4,
}

impl CurveId {
    /// Every curve.
    pub const ALL: [CurveId; 4] = [CurveId::Secp256k1, CurveId::P256, CurveId::P384, CurveId::P521];

    /// The name that people and APIs use.
    pub const fn name(self) -> &'static str {
        match self {
            CurveId::Secp256k1 => "secp256k1",
            CurveId::P256 => "P-256",
            CurveId::P384 => "P-384",
            CurveId::P521 => "P-521",
        }
    }

    /// The curve of this name, exactly as [`name`](Self::name) writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    /// Length of the digest that ECDSA signs on this curve, in bytes (rule S-62).
    pub fn digest_bytes(self) -> usize {
        match self {
            CurveId::Secp256k1 | CurveId::P256 => 32,
            CurveId::P384 => 48,
            CurveId::P521 => 64,
        }
    }
}

impl fmt::Display for CurveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the x coordinate of a signature's R becomes.
pub struct RCoordinate<S> {
    /// x(R) mod q.
    pub r: S,
    /// x(R) was q or more before reduction: bit 1 of the recovery ID.
    pub x_reduced: bool,
    /// y(R) is odd: bit 0 of the recovery ID.
    pub y_is_odd: bool,
}

/// A curve on which keys are shared and signatures made.
pub trait Curve: Copy + fmt::Debug + Send + Sync + 'static {
    /// Scalars modulo the group order q.
    type Scalar: PrimeField + ConditionallySelectable + ConstantTimeEq + Zeroize + Send + Sync;
    /// Points of the group.
    type Point: Group<Scalar = Self::Scalar>
        + ConditionallySelectable
        + ConstantTimeEq
        + Zeroize
        + Send
        + Sync;
    /// As many bytes as are reduced to one scalar: ceil((bits of q + 128) / 8).
    type Wide: AsRef<[u8]> + AsMut<[u8]> + Default + Copy + Zeroize + Send + Sync;

    /// Which curve this is.
    const ID: CurveId;
    /// Bits of the group order, the spec's kappa.
    const SCALAR_BITS: usize;
    /// Bytes of an encoded scalar, big endian.
    const SCALAR_BYTES: usize;
    /// Bytes of an encoded point: SEC1 compressed.
    const POINT_BYTES: usize;
    /// Length of a point in messages: SEC1 uncompressed, since a square root costs more than its bytes.
    const MESSAGE_POINT_BYTES: usize = 2 * Self::POINT_BYTES - 1;
    /// Whether signatures are normalised to the lower half of s.
    const LOW_S: bool;

    /// Reduces [`Self::Wide`] bytes, big endian, modulo q. Constant time.
    fn reduce_wide(wide: &Self::Wide) -> Self::Scalar;
    /// x and y of points, big endian, with one inversion; both are zero for the identity. Constant time.
    fn coordinates(points: &[Self::Point]) -> Vec<[Vec<u8>; 2]>;
    /// The same of a public point, in variable time.
    fn coordinates_vartime(point: &Self::Point) -> [Vec<u8>; 2];
    /// Strict decoding: exact lengths, canonical, on the curve.
    fn from_coordinates(x: &[u8], y: &[u8]) -> Option<Self::Point>;
    /// Strict decoding of SEC1 compressed, with the point's y: exact length, canonical, on the curve, not
    /// the identity.
    fn decompress(bytes: &[u8]) -> Option<(Self::Point, Vec<u8>)>;
    /// Big endian, [`Self::SCALAR_BYTES`] long.
    fn encode_scalar(scalar: &Self::Scalar) -> Vec<u8>;
    /// Strict decoding: exact length and below q.
    fn decode_scalar(bytes: &[u8]) -> Option<Self::Scalar>;
    /// The x coordinate of a public point as ECDSA uses it.
    fn r_coordinate(point: &NonIdentityPoint<Self>) -> RCoordinate<Self::Scalar>;
    /// The scalar that a digest stands for: its leftmost bits (FIPS 186-5), reduced modulo q.
    /// `digest` has [`CurveId::digest_bytes`] bytes.
    fn digest_to_scalar(digest: &[u8]) -> Self::Scalar;
    /// The sum of products of points and scalars, in constant time. Cheaper than one by one: the
    /// doublings are shared.
    fn lincomb<const N: usize>(terms: &[(Self::Point, Self::Scalar); N]) -> Self::Point;
    /// The same for public values, in variable time.
    fn lincomb_of_many_vartime(terms: &[(Self::Point, Self::Scalar)]) -> Self::Point;
    /// a·G + b·P for public values, in variable time.
    fn lincomb_vartime(a: &Self::Scalar, b: &Self::Scalar, point: &Self::Point) -> Self::Point;
    /// Whether a public scalar lies in the upper half of \[0, q).
    fn is_high(scalar: &Self::Scalar) -> bool;
    /// DER SubjectPublicKeyInfo (RFC 5480), uncompressed point.
    fn public_key_der(point: &Self::Point) -> Vec<u8>;
    /// Reads a DER SubjectPublicKeyInfo; strict as [`decode_point`](Self::decode_point).
    fn public_key_from_der(der: &[u8]) -> Option<Self::Point>;
    /// DER form of a signature (RFC 3279); `None` if r or s is zero.
    fn signature_to_der(r: &Self::Scalar, s: &Self::Scalar) -> Option<Vec<u8>>;
    /// Reads the strict DER form of a signature.
    fn signature_from_der(der: &[u8]) -> Option<(Self::Scalar, Self::Scalar)>;

    /// SEC1 compressed encoding; the identity (which no message may carry) is all zero. Constant time.
    fn encode_point(point: &Self::Point) -> Vec<u8> {
        Self::encode_points(std::slice::from_ref(point)).swap_remove(0)
    }

    /// [`encode_point`](Self::encode_point) of several points with one inversion.
    fn encode_points(points: &[Self::Point]) -> Vec<Vec<u8>> {
        Self::coordinates(points).iter().map(|[x, y]| compressed(x, y)).collect()
    }

    /// Strict decoding of SEC1 compressed, as [`decompress`](Self::decompress).
    fn decode_point(bytes: &[u8]) -> Option<Self::Point> {
        Self::decompress(bytes).map(|(point, _)| point)
    }

    /// s·G.
    fn mul_generator(scalar: &Self::Scalar) -> Self::Point {
        Self::Point::mul_by_generator(scalar)
    }

    /// A uniform scalar.
    fn random_scalar(rng: &mut dyn CryptoRng) -> Self::Scalar {
        let mut wide = Self::Wide::default();
        rng.fill_bytes(wide.as_mut());
        let scalar = Self::reduce_wide(&wide);
        wide.zeroize();
        scalar
    }

    /// A uniform non-zero scalar (rule S-69: zero is drawn again).
    fn random_nonzero_scalar(rng: &mut dyn CryptoRng) -> Self::Scalar {
        loop {
            let scalar = Self::random_scalar(rng);
            if !bool::from(scalar.is_zero()) {
                return scalar;
            }
        }
    }
}

/// Runs `$body` with the type `$C` of the curve named by a [`CurveId`].
#[macro_export]
macro_rules! with_curve {
    ($id:expr, $C:ident => $body:expr) => {
        match $id {
            $crate::CurveId::Secp256k1 => {
                type $C = $crate::Secp256k1;
                $body
            }
            $crate::CurveId::P256 => {
                type $C = $crate::P256;
                $body
            }
            $crate::CurveId::P384 => {
                type $C = $crate::P384;
                $body
            }
            $crate::CurveId::P521 => {
                type $C = $crate::P521;
                $body
            }
        }
    };
}

/// Implements [`Curve`] for a RustCrypto curve. The numbers are the ones of spec 2.
macro_rules! rustcrypto_curve {
    ($module:ident, $curve:ty, $id:expr, bits: $bits:expr, bytes: $bytes:expr, wide: $wide:expr, half: $half:expr, low_s: $low_s:expr $(, fixed_base: $fixed_base:ident)?) => {
        impl Curve for $curve {
            type Scalar = <$curve as CurveArithmetic>::Scalar;
            type Point = <$curve as CurveArithmetic>::ProjectivePoint;
            type Wide = WideBytes<$wide>;

            const ID: CurveId = $id;
            const SCALAR_BITS: usize = $bits;
            const SCALAR_BYTES: usize = $bytes;
            const POINT_BYTES: usize = $bytes + 1;
            const LOW_S: bool = $low_s;

            fn reduce_wide(wide: &Self::Wide) -> Self::Scalar {
                // Two halves, each below q because shorter than q: hi * 2^(8 * half) + lo.
                let (hi, lo) = wide.0.split_at($wide - $half);
                let scalar = |part: &[u8]| {
                    let mut repr = elliptic_curve::FieldBytes::<$curve>::default();
                    repr[$bytes - part.len()..].copy_from_slice(part);
                    let scalar = Option::<Self::Scalar>::from(Self::Scalar::from_repr(repr.clone()))
                        .expect("a half is shorter than the group order");
                    repr.zeroize();
                    scalar
                };
                let mut shift = [0u8; $half + 1];
                shift[0] = 1;
                scalar(hi) * scalar(&shift) + scalar(lo)
            }

            fn coordinates(points: &[Self::Point]) -> Vec<[Vec<u8>; 2]> {
                let affine = <Self::Point as BatchNormalize<[Self::Point]>>::batch_normalize(points);
                affine.iter().map(|point| [point.x().to_vec(), point.y().to_vec()]).collect()
            }

            fn coordinates_vartime(point: &Self::Point) -> [Vec<u8>; 2] {
                let affine = Self::Point::batch_normalize_vartime(std::slice::from_ref(point));
                let point = affine.first().expect("one of one");
                [point.x().to_vec(), point.y().to_vec()]
            }

            fn from_coordinates(x: &[u8], y: &[u8]) -> Option<Self::Point> {
                let (x, y) = (x.try_into().ok()?, y.try_into().ok()?);
                let point = <$curve as CurveArithmetic>::AffinePoint::from_coordinates(x, y);
                Option::<<$curve as CurveArithmetic>::AffinePoint>::from(point).map(Self::Point::from)
            }

            fn decompress(bytes: &[u8]) -> Option<(Self::Point, Vec<u8>)> {
                if !matches!(bytes.first(), Some(2 | 3)) {
                    return None;
                }
                let repr = bytes.try_into().ok()?;
                let point = Option::<<$curve as CurveArithmetic>::AffinePoint>::from(GroupEncoding::from_bytes(&repr))?;
                let y = point.y().to_vec();
                Some((Self::Point::from(point), y))
            }

            fn encode_scalar(scalar: &Self::Scalar) -> Vec<u8> {
                scalar.to_repr().to_vec()
            }

            fn decode_scalar(bytes: &[u8]) -> Option<Self::Scalar> {
                if bytes.len() != Self::SCALAR_BYTES {
                    return None;
                }
                let mut repr = elliptic_curve::FieldBytes::<$curve>::default();
                repr.copy_from_slice(bytes);
                Self::Scalar::from_repr(repr).into()
            }

            fn r_coordinate(point: &NonIdentityPoint<Self>) -> RCoordinate<Self::Scalar> {
                // The encoding is the sign of y and then x.
                let (sign, x_bytes) = point.encoded().split_at(1);
                let mut x = elliptic_curve::FieldBytes::<$curve>::default();
                x.copy_from_slice(x_bytes);
                RCoordinate {
                    r: <Self::Scalar as Reduce<elliptic_curve::FieldBytes<$curve>>>::reduce(&x),
                    x_reduced: bool::from(Self::Scalar::from_repr(x).is_none()),
                    y_is_odd: sign == [3],
                }
            }

            fn digest_to_scalar(digest: &[u8]) -> Self::Scalar {
                let mut repr = elliptic_curve::FieldBytes::<$curve>::default();
                repr[$bytes - digest.len()..].copy_from_slice(digest);
                <Self::Scalar as Reduce<elliptic_curve::FieldBytes<$curve>>>::reduce(&repr)
            }

            $(
                fn mul_generator(scalar: &Self::Scalar) -> Self::Point {
                    static TABLE: OnceLock<$fixed_base<$curve>> = OnceLock::new();
                    TABLE.get_or_init($fixed_base::new).mul(scalar)
                }
            )?

            fn lincomb<const N: usize>(terms: &[(Self::Point, Self::Scalar); N]) -> Self::Point {
                elliptic_curve::ops::LinearCombination::lincomb(terms)
            }

            fn lincomb_of_many_vartime(terms: &[(Self::Point, Self::Scalar)]) -> Self::Point {
                elliptic_curve::ops::LinearCombination::lincomb_vartime(terms)
            }

            fn lincomb_vartime(a: &Self::Scalar, b: &Self::Scalar, point: &Self::Point) -> Self::Point {
                use elliptic_curve::ops::MulByGeneratorVartime;
                Self::Point::mul_by_generator_and_mul_add_vartime(a, b, point)
            }

            fn is_high(scalar: &Self::Scalar) -> bool {
                bool::from(elliptic_curve::scalar::IsHigh::is_high(scalar))
            }

            fn public_key_der(point: &Self::Point) -> Vec<u8> {
                use elliptic_curve::pkcs8::EncodePublicKey;
                elliptic_curve::PublicKey::<$curve>::from_affine(elliptic_curve::group::Curve::to_affine(
                    point,
                ))
                .expect("a public key is never the identity")
                .to_public_key_der()
                .expect("a valid point always encodes")
                .into_vec()
            }

            fn public_key_from_der(der: &[u8]) -> Option<Self::Point> {
                use elliptic_curve::pkcs8::DecodePublicKey;
                let key = elliptic_curve::PublicKey::<$curve>::from_public_key_der(der).ok()?;
                Some(key.to_projective())
            }

            fn signature_to_der(r: &Self::Scalar, s: &Self::Scalar) -> Option<Vec<u8>> {
                let signature = $module::ecdsa::Signature::from_scalars(r.to_repr(), s.to_repr()).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }

            fn signature_from_der(der: &[u8]) -> Option<(Self::Scalar, Self::Scalar)> {
                let signature = $module::ecdsa::Signature::from_der(der).ok()?;
                let (r, s) = signature.split_scalars();
                Some((*r, *s))
            }
        }
    };
}

rustcrypto_curve!(k256, Secp256k1, CurveId::Secp256k1, bits: 256, bytes: 32, wide: 48, half: 24, low_s: true, fixed_base: FixedBase);
rustcrypto_curve!(p256, P256, CurveId::P256, bits: 256, bytes: 32, wide: 48, half: 24, low_s: false, fixed_base: FixedBase);
rustcrypto_curve!(p384, P384, CurveId::P384, bits: 384, bytes: 48, wide: 64, half: 32, low_s: false);
rustcrypto_curve!(p521, P521, CurveId::P521, bits: 521, bytes: 66, wide: 82, half: 41, low_s: false);

/// Bytes that are reduced to one scalar.
#[derive(Clone, Copy)]
pub struct WideBytes<const N: usize>([u8; N]);

impl<const N: usize> Default for WideBytes<N> {
    fn default() -> Self {
        WideBytes([0; N])
    }
}

impl<const N: usize> AsRef<[u8]> for WideBytes<N> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> AsMut<[u8]> for WideBytes<N> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> Zeroize for WideBytes<N> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// A point as messages carry it: decoding refuses the identity and anything not canonical.
///
/// It keeps its coordinates, because they cost an inversion and are wanted more than once.
#[derive(Clone, Copy)]
pub struct NonIdentityPoint<C: Curve> {
    point: C::Point,
    /// SEC1 compressed: the first [`Curve::POINT_BYTES`] of these.
    encoded: [u8; MAX_POINT_BYTES],
    /// One byte less.
    y: [u8; MAX_SCALAR_BYTES],
}

impl<C: Curve> NonIdentityPoint<C> {
    /// `None` for the identity.
    pub fn new(point: C::Point) -> Option<Self> {
        Self::batch(&[point])?.pop()
    }

    /// The same for several points, with one inversion. `None` if one is the identity.
    pub fn batch(points: &[C::Point]) -> Option<Vec<Self>> {
        let coordinates = C::coordinates(points);
        points.iter().zip(&coordinates).map(|(point, [x, y])| Self::with_coordinates(*point, x, y)).collect()
    }

    /// [`new`](Self::new) for a public point, in variable time.
    pub fn new_vartime(point: C::Point) -> Option<Self> {
        let [x, y] = C::coordinates_vartime(&point);
        Self::with_coordinates(point, &x, &y)
    }

    /// Strict decoding of SEC1 compressed, as [`Curve::decompress`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        C::decompress(bytes).and_then(|(point, y)| Self::with_coordinates(point, &bytes[1..], &y))
    }

    fn with_coordinates(point: C::Point, x: &[u8], y: &[u8]) -> Option<Self> {
        let mut made = NonIdentityPoint { point, encoded: [0; MAX_POINT_BYTES], y: [0; MAX_SCALAR_BYTES] };
        made.encoded[..C::POINT_BYTES].copy_from_slice(&compressed(x, y));
        made.y[..y.len()].copy_from_slice(y);
        (!bool::from(point.is_identity())).then_some(made)
    }

    /// The point.
    pub fn point(&self) -> &C::Point {
        &self.point
    }

    /// SEC1 compressed.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded[..C::POINT_BYTES]
    }
}

/// SEC1 compressed, and all zero for the identity, which both coordinates zero stand for: no curve of ours
/// has such a point.
fn compressed(x: &[u8], y: &[u8]) -> Vec<u8> {
    let any = x.iter().chain(y).fold(0, |any, byte| any | byte);
    let odd = y.last().expect("a coordinate has bytes") & 1;
    let tag = (2 | odd) & any.ct_ne(&0).unwrap_u8().wrapping_neg();
    [&[tag], x].concat()
}

impl<C: Curve> PartialEq for NonIdentityPoint<C> {
    fn eq(&self, other: &Self) -> bool {
        // An encoding is unique.
        self.encoded == other.encoded
    }
}

impl<C: Curve> Eq for NonIdentityPoint<C> {}

impl<C: Curve> fmt::Debug for NonIdentityPoint<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encoded().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SEC1 uncompressed.
impl<C: Curve> BorshSerialize for NonIdentityPoint<C> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let (x, y) = (&self.encoded()[1..], &self.y[..C::POINT_BYTES - 1]);
        writer.write_all(&[&[UNCOMPRESSED], x, y].concat())
    }
}

impl<C: Curve> BorshDeserialize for NonIdentityPoint<C> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let mut buffer = [0u8; 2 * MAX_POINT_BYTES - 1];
        let bytes = &mut buffer[..C::MESSAGE_POINT_BYTES];
        reader.read_exact(bytes)?;
        let (x, y) = bytes[1..].split_at(C::POINT_BYTES - 1);
        C::from_coordinates(x, y)
            .filter(|_| bytes[0] == UNCOMPRESSED)
            .and_then(|point| Self::with_coordinates(point, x, y))
            .ok_or_else(|| invalid("not a point of the curve"))
    }
}

/// Tag of SEC1.
const UNCOMPRESSED: u8 = 4;

/// A scalar as messages carry it: decoding refuses values of q and above.
///
/// It may be secret (a share on its way to its owner), hence wiped on drop and not printed.
pub struct CanonicalScalar<C: Curve>(C::Scalar, PhantomData<C>);

impl<C: Curve> CanonicalScalar<C> {
    /// Wraps a scalar for a message.
    pub fn new(scalar: C::Scalar) -> Self {
        CanonicalScalar(scalar, PhantomData)
    }

    /// The scalar.
    pub fn scalar(&self) -> &C::Scalar {
        &self.0
    }
}

impl<C: Curve> Drop for CanonicalScalar<C> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<C: Curve> fmt::Debug for CanonicalScalar<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<scalar>")
    }
}

impl<C: Curve> BorshSerialize for CanonicalScalar<C> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let mut bytes = C::encode_scalar(&self.0);
        let result = writer.write_all(&bytes);
        bytes.zeroize();
        result
    }
}

impl<C: Curve> BorshDeserialize for CanonicalScalar<C> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let mut buffer = [0u8; MAX_SCALAR_BYTES];
        let bytes = &mut buffer[..C::SCALAR_BYTES];
        reader.read_exact(bytes)?;
        let scalar = C::decode_scalar(bytes);
        buffer.zeroize();
        scalar.map(Self::new).ok_or_else(|| invalid("scalar is not below the group order"))
    }
}

/// P-521 has the longest encodings.
const MAX_SCALAR_BYTES: usize = 66;
const MAX_POINT_BYTES: usize = MAX_SCALAR_BYTES + 1;

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
