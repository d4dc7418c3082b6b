//! One statement with its values, for either database.

use quorate_core::codec::{Wire, decode};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, Row as _, Sqlite};

use super::error::StoreError;
use super::handle::{Database, DatabaseKind, Tx, TxKind, in_time};

/// A statement with placeholders `$1`, `$2`, …
#[must_use]
pub fn sql(text: &'static str) -> Statement {
    Statement { text, values: Vec::new() }
}

/// A statement and the values of its placeholders.
pub struct Statement {
    text: &'static str,
    values: Vec<SqlValue>,
}

/// A value that can be stored.
pub enum SqlValue {
    /// Bytes: `BYTEA`, `BLOB`.
    Bytes(Option<Vec<u8>>),
    /// A number: `BIGINT`, `INTEGER`.
    Integer(Option<i64>),
    /// Text: `TEXT`.
    Text(Option<String>),
    /// Yes or no: `BOOLEAN`.
    Truth(bool),
}

macro_rules! values {
    ($($kind:ident: { $($from:ty => $into:expr,)+ })*) => {$($(
        impl From<$from> for SqlValue {
            fn from(value: $from) -> Self {
                Self::$kind(Some($into(value)))
            }
        }
        impl From<Option<$from>> for SqlValue {
            fn from(value: Option<$from>) -> Self {
                Self::$kind(value.map($into))
            }
        }
    )+)*};
}

values! {
    Bytes: { &[u8] => <[u8]>::to_vec, Vec<u8> => std::convert::identity, }
    Integer: { i64 => std::convert::identity, u32 => i64::from, u16 => i64::from, }
    Text: { &str => str::to_owned, &String => String::clone, String => std::convert::identity, }
}

impl From<bool> for SqlValue {
    fn from(value: bool) -> Self {
        Self::Truth(value)
    }
}

/// A row of either database.
pub enum Row {
    /// A row of SQLite.
    Sqlite(SqliteRow),
    /// A row of PostgreSQL.
    Postgres(PgRow),
}

/// A type that can be read from a column of either database.
pub trait Column: Sized {
    /// Reads the column of this name.
    ///
    /// # Errors
    /// When there is no such column, or it holds something else.
    fn of(row: &Row, name: &str) -> Result<Self, sqlx::Error>;
}

macro_rules! columns {
    ($($of:ty)*) => {$(
        impl Column for $of {
            fn of(row: &Row, name: &str) -> Result<Self, sqlx::Error> {
                match row {
                    Row::Sqlite(row) => row.try_get(name),
                    Row::Postgres(row) => row.try_get(name),
                }
            }
        }
        impl Column for Option<$of> {
            fn of(row: &Row, name: &str) -> Result<Self, sqlx::Error> {
                match row {
                    Row::Sqlite(row) => row.try_get(name),
                    Row::Postgres(row) => row.try_get(name),
                }
            }
        }
    )*};
}

columns!(Vec<u8> i64 String bool);

macro_rules! narrow_columns {
    ($($of:ty)*) => {$(
        impl Column for $of {
            fn of(row: &Row, name: &str) -> Result<Self, sqlx::Error> {
                Self::try_from(i64::of(row, name)?).map_err(|error| sqlx::Error::Decode(error.into()))
            }
        }
        impl Column for Option<$of> {
            fn of(row: &Row, name: &str) -> Result<Self, sqlx::Error> {
                let narrow = <$of>::try_from;
                let wide = Option::<i64>::of(row, name)?;
                wide.map(narrow).transpose().map_err(|error| sqlx::Error::Decode(error.into()))
            }
        }
    )*};
}

narrow_columns!(u16 u32 u64);

impl<const N: usize> From<&[u8; N]> for SqlValue {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl Row {
    /// The value of a column, in the encoding of core.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn read<T: Wire>(&self, name: &str, table: &'static str) -> Result<T, StoreError> {
        decode(&self.get::<Vec<u8>>(name)?).map_err(|_| StoreError::Malformed(table))
    }

    /// The value of a column.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn get<T: Column>(&self, name: &str) -> Result<T, StoreError> {
        Ok(T::of(self, name)?)
    }
}

/// Where a statement runs.
pub trait On {
    /// Runs a statement, and says how many rows it has changed.
    fn execute(self, statement: Statement) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
    /// Runs a statement, and gives its rows.
    fn fetch_all(self, statement: Statement) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;
}

macro_rules! bound {
    ($statement:expr, $kind:ty) => {{
        let Statement { text, values } = $statement;
        values.into_iter().fold(sqlx::query::<$kind>(text), |query, value| match value {
            SqlValue::Bytes(value) => query.bind(value),
            SqlValue::Integer(value) => query.bind(value),
            SqlValue::Text(value) => query.bind(value),
            SqlValue::Truth(value) => query.bind(value),
        })
    }};
}

impl On for &Database {
    async fn execute(self, statement: Statement) -> Result<u64, sqlx::Error> {
        Ok(match &self.0 {
            DatabaseKind::Sqlite(pool) => bound!(statement, Sqlite).execute(pool).await?.rows_affected(),
            DatabaseKind::Postgres(pool) => bound!(statement, Postgres).execute(pool).await?.rows_affected(),
        })
    }

    async fn fetch_all(self, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match &self.0 {
            DatabaseKind::Sqlite(pool) => {
                bound!(statement, Sqlite).fetch_all(pool).await?.into_iter().map(Row::Sqlite).collect()
            }
            DatabaseKind::Postgres(pool) => {
                bound!(statement, Postgres).fetch_all(pool).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }
}

impl On for &mut Tx {
    async fn execute(self, statement: Statement) -> Result<u64, sqlx::Error> {
        Ok(match &mut self.0 {
            TxKind::Sqlite(tx) => bound!(statement, Sqlite).execute(&mut **tx).await?.rows_affected(),
            TxKind::Postgres(tx) => bound!(statement, Postgres).execute(&mut **tx).await?.rows_affected(),
        })
    }

    async fn fetch_all(self, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match &mut self.0 {
            TxKind::Sqlite(tx) => {
                bound!(statement, Sqlite).fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect()
            }
            TxKind::Postgres(tx) => bound!(statement, Postgres)
                .fetch_all(&mut **tx)
                .await?
                .into_iter()
                .map(Row::Postgres)
                .collect(),
        })
    }
}

impl Statement {
    /// With the next placeholder's value.
    #[must_use]
    pub fn bind(mut self, value: impl Into<SqlValue>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it, and says how many rows it has changed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn execute(self, on: impl On + Send) -> Result<u64, StoreError> {
        in_time(async { Ok(on.execute(self).await?) }).await
    }

    /// The rows that it gives. All our statements that read give few.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn fetch_all(self, on: impl On + Send) -> Result<Vec<Row>, StoreError> {
        in_time(async { Ok(on.fetch_all(self).await?) }).await
    }

    /// The row that it gives, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn fetch_optional(self, on: impl On + Send) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// The one row that it gives.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn fetch_one(self, on: impl On + Send) -> Result<Row, StoreError> {
        self.fetch_optional(on).await?.ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }
}

/// A count or a time as the signed integer that databases have.
///
/// # Errors
/// [`StoreError::Conflict`] from 2⁶³ on, far beyond any count or time of ours.
pub fn signed(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Conflict("a number beyond 63 bits"))
}

/// The value of a column, in the encoding of core.
///
/// # Errors
/// [`StoreError::Malformed`] when the bytes are not its encoding.
pub fn decoded<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, StoreError> {
    decode(bytes).map_err(|_| StoreError::Malformed(what))
}
