//! The calls to one bucket, each made once.

use std::ops::Range;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
    ServerSideEncryption as Sse,
};
use base64_simd::STANDARD;
use bytes::Bytes;
use pixel_engine_core::config::{Connection, ObjectsConfig, S3Uri, ServerSideEncryption};
use pixel_engine_core::deliver::Failure;

use crate::connection::Target;
use crate::failure::{answered, failure, of_request, status};

/// The metadata of an object that says which upload made it.
const UPLOAD: &str = "pixel-engine-upload";
/// Nothing of that name may be there.
const ANY: &str = "*";
/// Keys of one request that removes objects. Source: DeleteObjects in the API reference.
pub(super) const MAX_DELETED: usize = 1_000;

/// The CRC-64/NVME of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crc64(u64);

impl Crc64 {
    const ALGORITHM: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc64Nvme;

    pub(super) fn of(bytes: &[u8]) -> Crc64 {
        Crc64(crc_fast::checksum(Crc64::ALGORITHM, bytes))
    }

    /// That of these bytes with `len` others behind them, of which `next` is.
    pub(super) fn followed_by(self, next: Crc64, len: usize) -> Crc64 {
        Crc64(crc_fast::checksum_combine(Crc64::ALGORITHM, self.0, next.0, len as u64))
    }

    /// As headers have it.
    fn text(self) -> String {
        STANDARD.encode_to_string(self.0.to_be_bytes())
    }
}

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    client: Client,
    name: String,
}

/// An object that is being stored: what its name, and the answer to whether it is ours, depend on.
#[derive(Clone, Debug)]
pub(super) struct NewObject {
    pub(super) key: String,
    /// Random, and in the object's metadata.
    pub(super) upload: String,
    pub(super) sse: Option<ServerSideEncryption>,
    pub(super) sse_kms_key_id: Option<String>,
}

/// A part that S3 has.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) len: usize,
    pub(super) crc: Crc64,
    etag: String,
}

impl<'a> From<&'a S3Uri> for Target<'a> {
    fn from(uri: &'a S3Uri) -> Target<'a> {
        Target { name: uri.to_string(), region: None, takes_arn: false }
    }
}

impl NewObject {
    pub(super) fn new(key: String, config: &ObjectsConfig) -> NewObject {
        let upload = format!("{:032x}", fastrand::u128(..));
        NewObject { key, upload, sse: config.sse, sse_kms_key_id: config.sse_kms_key_id.clone() }
    }

    fn sse(&self) -> Option<Sse> {
        self.sse.map(|sse| match sse {
            ServerSideEncryption::Aes256 => Sse::Aes256,
            ServerSideEncryption::AwsKms => Sse::AwsKms,
        })
    }

    /// By what the name ends with, for people who look at it in a browser. No Content-Encoding for
    /// what is compressed: it would make readers that go through HTTP decompress it, and the name
    /// would be wrong then. Athena, Spark and DuckDB go by the name.
    fn content_type(&self) -> &'static str {
        match self.key.rsplit('.').next() {
            Some("tsv") => "text/tab-separated-values",
            Some("json") => "application/json",
            Some("jsonl") => "application/x-ndjson",
            Some("gz") => "application/gzip",
            Some("zst") => "application/zstd",
            Some("parquet") => "application/vnd.apache.parquet",
            _ => "application/octet-stream",
        }
    }
}

impl Bucket {
    pub(crate) fn new(configuration: &SdkConfig, connection: &Connection, name: &str) -> Bucket {
        let mut config = Builder::from(configuration)
            // What is written has checksums of ours.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(url) = &connection.endpoint_url {
            config.set_endpoint_url(Some(url.clone()));
        }
        if connection.endpoint_url.as_deref().or(configuration.endpoint_url()).is_some() {
            // Few of those that are not AWS have a name for every bucket.
            config.set_force_path_style(Some(true));
        }
        Bucket { client: Client::from_conf(config.build()), name: name.to_owned() }
    }

    /// Whether it is there, and in this region; `None` when the caller may not ask, which says
    /// nothing about writing to it.
    pub(crate) async fn look(&self) -> Result<Option<String>, Failure> {
        const CALL: &str = "s3:ListBucket";
        let error = match self.client.head_bucket().bucket(&self.name).send().await {
            Ok(found) => return Ok(Some(found.bucket_region().unwrap_or("of an unnamed region").to_owned())),
            Err(error) => error,
        };
        // A reply to HEAD has no body that would name the error.
        let region = error.raw_response().and_then(|reply| reply.headers().get("x-amz-bucket-region"));
        match (status(&error), region) {
            (Some(404), _) => Err(failure("NoSuchBucket", "", Some(404)).during(CALL)),
            (Some(301), Some(region)) => {
                Err(failure("PermanentRedirect", format!("the bucket is in {region}"), Some(301)).during(CALL))
            }
            (Some(400..500), _) => {
                tracing::debug!("s3://{}: not looked at beforehand: {}", self.name, of_request(&error));
                Ok(None)
            }
            _ => Err(of_request(&error).during(CALL)),
        }
    }

    /// Stores a whole object, unless there is one of that name. One that is there since an earlier
    /// try is as good.
    pub(super) async fn put(&self, object: &NewObject, body: Bytes, crc: Crc64) -> Result<(), Failure> {
        self.put_if(object, body, crc, None).await
    }

    /// The same in place of the object of that name, if it still has that ETag.
    pub(super) async fn replace(&self, object: &NewObject, body: Bytes, crc: Crc64, etag: &str) -> Result<(), Failure> {
        self.put_if(object, body, crc, Some(etag)).await
    }

    async fn put_if(&self, object: &NewObject, body: Bytes, crc: Crc64, replaced: Option<&str>) -> Result<(), Failure> {
        let len = body.len() as u64;
        let request = self.client.put_object().bucket(&self.name).key(&object.key);
        let request = match replaced {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match(ANY),
        };
        let request = request.content_type(object.content_type()).metadata(UPLOAD, &object.upload);
        let request = request.set_server_side_encryption(object.sse()).set_ssekms_key_id(object.sse_kms_key_id.clone());
        let reply = request.checksum_crc64_nvme(crc.text()).body(ByteStream::from(body)).send().await;
        match reply.map_err(|error| of_request(&error).during("s3:PutObject")) {
            Ok(_) => Ok(()),
            Err(failure) => self.unless_it_is_there(failure, object, len).await,
        }
    }

    /// Begins an object of several parts; the id of the upload.
    pub(super) async fn begin(&self, object: &NewObject) -> Result<String, Failure> {
        let request = self.client.create_multipart_upload().bucket(&self.name).key(&object.key);
        let request = request.content_type(object.content_type()).metadata(UPLOAD, &object.upload);
        let request = request.set_server_side_encryption(object.sse()).set_ssekms_key_id(object.sse_kms_key_id.clone());
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme).checksum_type(ChecksumType::FullObject);
        let reply = request.send().await.map_err(|error| of_request(&error).during("s3:PutObject"))?;
        answered("UploadId", reply.upload_id().unwrap_or_default())
    }

    pub(super) async fn put_part(
        &self,
        object: &NewObject,
        upload_id: &str,
        number: i32,
        body: Bytes,
        crc: Crc64,
    ) -> Result<Part, Failure> {
        let len = body.len();
        let request = self.client.upload_part().bucket(&self.name).key(&object.key).upload_id(upload_id);
        let request = request.part_number(number).checksum_crc64_nvme(crc.text()).body(ByteStream::from(body));
        let reply = request.send().await.map_err(|error| of_request(&error).during("s3:PutObject"))?;
        Ok(Part { number, len, crc, etag: answered("ETag", reply.e_tag().unwrap_or_default())? })
    }

    /// Makes an object of its parts, in order, unless there is one of that name. One that is there
    /// since an earlier try is as good.
    pub(super) async fn complete(&self, object: &NewObject, upload_id: &str, parts: &[Part]) -> Result<(), Failure> {
        let len = parts.iter().map(|part| part.len as u64).sum::<u64>();
        let crc = parts.iter().skip(1).fold(parts[0].crc, |crc, part| crc.followed_by(part.crc, part.len));
        let completed = |part: &Part| {
            let of = CompletedPart::builder().part_number(part.number).e_tag(&part.etag);
            of.checksum_crc64_nvme(part.crc.text()).build()
        };
        let upload = CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(completed).collect()));
        let request = self.client.complete_multipart_upload().bucket(&self.name).key(&object.key);
        let request = request.upload_id(upload_id).multipart_upload(upload.build()).if_none_match(ANY);
        let request = request.checksum_crc64_nvme(crc.text()).checksum_type(ChecksumType::FullObject);
        match request.send().await.map_err(|error| of_request(&error).during("s3:PutObject")) {
            Ok(_) => Ok(()),
            Err(failure) => self.unless_it_is_there(failure, object, len).await,
        }
    }

    /// Removes the parts of an upload that will not be completed.
    pub(super) async fn abort(&self, key: &str, upload_id: &str) -> Result<(), Failure> {
        let request = self.client.abort_multipart_upload().bucket(&self.name).key(key).upload_id(upload_id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(of_request(&error).during("s3:AbortMultipartUpload")),
        }
    }

    /// Whether the object of that upload was completed. If it was not, it cannot be any more.
    pub(super) async fn was_completed(&self, key: &str, upload_id: &str) -> Result<bool, Failure> {
        self.abort(key, upload_id).await?;
        match self.client.head_object().bucket(&self.name).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) => Err(of_request(&error).during("s3:GetObject")),
        }
    }

    /// A page of the objects whose keys begin so.
    pub(super) async fn list_page(&self, prefix: &str, next: Option<String>) -> Result<ListObjectsV2Output, Failure> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let page = request.set_continuation_token(next).send().await;
        page.map_err(|error| of_request(&error).during("s3:ListBucket"))
    }

    /// Size and ETag of an object as it is now.
    pub(super) async fn head(&self, key: &str) -> Result<(u64, String), Failure> {
        const CALL: &str = "s3:GetObject";
        let found = match self.client.head_object().bucket(&self.name).key(key).send().await {
            Ok(found) => found,
            // The reply to HEAD has no body that would tell.
            Err(error) if status(&error) == Some(404) => {
                return Err(failure("NoSuchKey", "", Some(404)).during(CALL));
            }
            Err(error) => return Err(of_request(&error).during(CALL)),
        };
        let size = found.content_length().and_then(|len| len.try_into().ok()).unwrap_or_default();
        Ok((size, answered("ETag", found.e_tag().unwrap_or_default()).map_err(|failure| failure.during(CALL))?))
    }

    /// The body of a range of an object that still has that ETag.
    pub(super) async fn get(&self, key: &str, etag: &str, range: Range<u64>) -> Result<ByteStream, Failure> {
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.client.get_object().bucket(&self.name).key(key).if_match(etag).range(bytes);
        let object = request.send().await.map_err(|error| {
            let failure = of_request(&error).during("s3:GetObject");
            match failure.code() {
                "PreconditionFailed" => failure.with_advice("it was replaced since it was listed: read it again"),
                _ => failure,
            }
        })?;
        let (start, end) = (range.start, range.end - 1);
        let is_range = object.content_range().is_none_or(|found| found.starts_with(&format!("bytes {start}-{end}/")));
        let len = object.content_length().and_then(|len| len.try_into().ok());
        if !is_range || len != Some(range.end - range.start) {
            let message = format!("not the range that was asked for: {:?}", object.content_range());
            return Err(Failure::malformed_reply(message).during("s3:GetObject"));
        }
        Ok(object.body)
    }

    /// The ETag of the object of that name; `None` when there is none.
    pub(super) async fn etag_of(&self, key: &str) -> Result<Option<String>, Failure> {
        match self.client.head_object().bucket(&self.name).key(key).send().await {
            Ok(found) => answered("ETag", found.e_tag().unwrap_or_default()).map(Some),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(of_request(&error).during("s3:GetObject")),
        }
    }

    /// Removes objects that still have these ETags, up to [`MAX_DELETED`] of them. Returns what the
    /// service says of those that it did not remove.
    pub(super) async fn delete(&self, objects: &[(String, String)]) -> Result<Vec<(String, Failure)>, Failure> {
        const CALL: &str = "s3:DeleteObject";
        let identifiers = objects.iter().map(|(key, etag)| {
            let identifier = ObjectIdentifier::builder().key(key).e_tag(etag).build();
            identifier.map_err(|error| Failure::malformed_reply(error.to_string()))
        });
        let identifiers = identifiers.collect::<Result<Vec<_>, Failure>>()?;
        let delete = Delete::builder().set_objects(Some(identifiers)).quiet(true).build();
        let delete = delete.map_err(|error| Failure::malformed_reply(error.to_string()))?;
        let reply = self.client.delete_objects().bucket(&self.name).delete(delete).send().await;
        let reply = reply.map_err(|error| of_request(&error).during(CALL))?;
        let refused = reply.errors().iter().map(|error| {
            let code = error.code().unwrap_or_default();
            // As a request of its own would have been answered.
            let status = match code {
                "NoSuchKey" => 404,
                "PreconditionFailed" => 412,
                "AccessDenied" => 403,
                "SlowDown" => 503,
                _ => 500,
            };
            let failure = failure(code, error.message().unwrap_or_default(), Some(status)).during(CALL);
            (error.key().unwrap_or_default().to_owned(), failure)
        });
        Ok(refused.collect())
    }

    /// The failure of a request to store the object, unless it says no more than that an earlier
    /// one has stored it: an object of that name, or an upload that is none any more.
    async fn unless_it_is_there(&self, failure: Failure, object: &NewObject, len: u64) -> Result<(), Failure> {
        if !matches!(failure.code(), "PreconditionFailed" | "NoSuchUpload") {
            return Err(failure);
        }
        let found = self.client.head_object().bucket(&self.name).key(&object.key).send().await;
        let found = match found {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => return Err(failure),
            Err(error) => return Err(of_request(&error).during("s3:GetObject")),
        };
        let upload = found.metadata().and_then(|metadata| metadata.get(UPLOAD));
        let is_ours =
            upload == Some(&object.upload) && found.content_length().and_then(|it| it.try_into().ok()) == Some(len);
        if is_ours { Ok(()) } else { Err(failure) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_catalogue_and_can_be_put_together() {
        // The check value of CRC-64/NVME in the catalogue of parametrised CRC algorithms.
        assert_eq!(Crc64::of(b"123456789"), Crc64(0xae8b_1486_0a79_9888));
        assert_eq!(Crc64::of(b"1234").followed_by(Crc64::of(b"56789"), 5), Crc64::of(b"123456789"));
        assert_eq!(Crc64(1).text(), "AAAAAAAAAAE=");
    }

    #[test]
    fn the_type_goes_by_the_end_of_the_name() {
        let of = |key: &str| NewObject::new(key.to_owned(), &ObjectsConfig::default()).content_type();
        assert_eq!(
            ["a/b.tsv", "a.jsonl.gz", "a"].map(of),
            ["text/tab-separated-values", "application/gzip", "application/octet-stream"]
        );
    }
}
