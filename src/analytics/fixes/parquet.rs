//! Exports as GeoParquet 1.1, compressed with zstd: one row a fix, a group of rows at a time.

use std::io::Error;
use std::sync::Arc;

use axum::body::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use crate::analytics::columns::{accuracy_dm, altitude_dm, battery_pct, heading_ddeg, speed_cmps};
use crate::domain::{CourierId, Fix, Position};

/// Rows held in memory until they are written, about 100 bytes each.
const GROUP_ROWS: usize = 100_000;

const SCHEMA: &str = "message fix {
    required binary courier_id (STRING);
    required int64 fix_time (TIMESTAMP(MILLIS,true));
    required double lat;
    required double lon;
    optional double accuracy_m;
    optional double speed_mps;
    optional double heading_deg;
    optional double altitude_m;
    optional int32 battery_pct;
    required binary geometry;
}";

/// What makes a Parquet file a GeoParquet one; WGS 84 longitude and latitude is its default.
const GEO: &str = r#"{"version":"1.1.0","primary_column":"geometry","columns":{"geometry":{"encoding":"WKB","geometry_types":["Point"]}}}"#;
/// Well-known binary of a point: little-endian, type 1, x, y.
const WKB_POINT_LEN: usize = 21;

/// Writes fixes as Parquet.
pub(super) struct ParquetWriter {
    file: SerializedFileWriter<Vec<u8>>,
    couriers: Vec<ByteArray>,
    fixes: Vec<Fix>,
    written: usize,
}

impl ParquetWriter {
    pub(super) fn new() -> Result<Self, Error> {
        let schema = Arc::new(parse_message_type(SCHEMA).map_err(Error::other)?);
        let geometry = ColumnPath::from("geometry");
        let level = ZstdLevel::try_new(3).map_err(Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by("Waylog".to_owned())
            .set_column_dictionary_enabled(geometry.clone(), false)
            .set_column_statistics_enabled(geometry, EnabledStatistics::None)
            .set_key_value_metadata(Some(vec![KeyValue::new("geo".to_owned(), GEO.to_owned())]))
            .build();
        let file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))
            .map_err(Error::other)?;
        Ok(Self {
            file,
            couriers: Vec::new(),
            fixes: Vec::new(),
            written: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.written
    }

    pub(super) fn take(&mut self) -> Bytes {
        self.written = 0;
        std::mem::take(self.file.inner_mut()).into()
    }

    pub(super) fn write(&mut self, courier: &CourierId, fixes: &[Fix]) -> Result<(), Error> {
        if fixes.is_empty() {
            return Ok(());
        }
        let id = ByteArray::from(courier.as_str());
        self.couriers.extend(fixes.iter().map(|_| id.clone()));
        self.fixes.extend_from_slice(fixes);
        if self.fixes.len() >= GROUP_ROWS {
            self.write_group()?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if !self.fixes.is_empty() {
            self.write_group()?;
        }
        self.file.finish().map_err(Error::other)?;
        self.written = self.file.inner().len();
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), Error> {
        let group = self.file.next_row_group().map_err(Error::other)?;
        Group { group }.write_rows(&self.couriers, &self.fixes)?;
        self.file.flush()?;
        self.written = self.file.inner().len();
        self.couriers.clear();
        self.fixes.clear();
        Ok(())
    }
}

fn column<T>(fixes: &[Fix], of: impl Fn(&Fix) -> T) -> Vec<T> {
    fixes.iter().map(of).collect()
}

fn geometries(fixes: &[Fix]) -> Vec<ByteArray> {
    let mut all = Vec::with_capacity(fixes.len() * WKB_POINT_LEN);
    for fix in fixes {
        push_wkb(&mut all, fix.position);
    }
    let all = Bytes::from(all);
    (0..fixes.len())
        .map(|i| ByteArray::from(all.slice(i * WKB_POINT_LEN..(i + 1) * WKB_POINT_LEN)))
        .collect()
}

fn push_wkb(out: &mut Vec<u8>, position: Position) {
    out.push(1);
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&position.lon().to_le_bytes());
    out.extend_from_slice(&position.lat().to_le_bytes());
}

/// Columns of a row group, in the order of the schema.
struct Group<'a> {
    group: SerializedRowGroupWriter<'a, Vec<u8>>,
}

impl Group<'_> {
    fn write_rows(mut self, couriers: &[ByteArray], fixes: &[Fix]) -> Result<(), Error> {
        self.required::<ByteArrayType>(couriers)?;
        self.required::<Int64Type>(&column(fixes, |f| f.fix_time.0))?;
        self.required::<DoubleType>(&column(fixes, |f| f.position.lat()))?;
        self.required::<DoubleType>(&column(fixes, |f| f.position.lon()))?;
        self.decimals(fixes, accuracy_dm, 10.0)?;
        self.decimals(fixes, speed_cmps, 100.0)?;
        self.decimals(fixes, |f| heading_ddeg(f).map(i32::from), 10.0)?;
        self.decimals(fixes, altitude_dm, 10.0)?;
        self.optional::<Int32Type>(fixes, |f| battery_pct(f).map(i32::from))?;
        self.required::<ByteArrayType>(&geometries(fixes))?;
        self.group.close().map_err(Error::other)?;
        Ok(())
    }

    fn required<T: DataType>(&mut self, values: &[T::T]) -> Result<(), Error> {
        self.write::<T>(values, None)
    }

    fn decimals(
        &mut self,
        fixes: &[Fix],
        steps: impl Fn(&Fix) -> Option<i32>,
        steps_a_unit: f64,
    ) -> Result<(), Error> {
        self.optional::<DoubleType>(fixes, |fix| {
            steps(fix).map(|steps| f64::from(steps) / steps_a_unit)
        })
    }

    fn optional<T: DataType>(
        &mut self,
        fixes: &[Fix],
        of: impl Fn(&Fix) -> Option<T::T>,
    ) -> Result<(), Error> {
        let values: Vec<Option<T::T>> = column(fixes, of);
        let present: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
        let values: Vec<T::T> = values.into_iter().flatten().collect();
        self.write::<T>(&values, Some(&present))
    }

    fn write<T: DataType>(
        &mut self,
        values: &[T::T],
        present: Option<&[i16]>,
    ) -> Result<(), Error> {
        let column = self.group.next_column().map_err(Error::other)?;
        let mut column = column.ok_or_else(|| Error::other("the schema has no such column"))?;
        column
            .typed::<T>()
            .write_batch(values, present, None)
            .map_err(Error::other)?;
        column.close().map_err(Error::other)
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;
    use crate::domain::UnixMs;

    #[test]
    fn reads_back_as_it_was_written_over_several_groups() {
        let at = Position::from_degrees(35.9, -14.5).expect("a position");
        let fixes: Vec<Fix> = (0..250_000_i64)
            .map(|n| {
                let mut fix = Fix::new(UnixMs(1_795_341_600_000 + n), at);
                fix.speed_mps = (n % 3 > 0).then_some(12.34);
                fix
            })
            .collect();
        let mut writer = ParquetWriter::new().expect("a writer");
        let mut file = Vec::new();
        for part in fixes.chunks(490) {
            writer
                .write(&CourierId::try_from("c-1").expect("an id"), part)
                .expect("written");
            file.extend_from_slice(&writer.take());
        }
        writer.finish().expect("finished");
        file.extend_from_slice(&writer.take());

        let reader = SerializedFileReader::new(Bytes::from(file)).expect("a Parquet file");
        let metadata = reader.metadata().file_metadata();
        assert_eq!(metadata.num_rows(), 250_000);
        assert!(reader.num_row_groups() > 1);
        let keys = metadata.key_value_metadata().expect("metadata");
        assert!(keys.iter().any(|kv| kv.key == "geo"));
        let rows = reader.get_row_iter(None).expect("rows");
        for (row, fix) in rows.zip(&fixes) {
            let row = row.expect("a row");
            assert_eq!(row.get_timestamp_millis(1).expect("a time"), fix.fix_time.0);
            assert_eq!(row.get_double(3).expect("a longitude"), -14.5);
            assert_eq!(row.get_double(5).ok(), fix.speed_mps.map(|_| 12.34));
        }
    }
}
