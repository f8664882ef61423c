import dagster as dg
import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from redis import exceptions as redis_errors

from atdata_core import errors
from atdata_pipelines.assets.step_retries import LONGEST_WAIT, dagster_failures


def raised_by(error):
    with pytest.raises(Exception) as caught, dagster_failures():  # noqa: PT011
        raise error
    return caught.value


def client_error(status):
    return ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


@pytest.mark.parametrize(
    "error",
    [
        errors.ServiceUnavailableError("down", service="pds", status=503),
        redis_errors.ConnectionError("gone"),
        redis_errors.TimeoutError("slow"),
        EndpointConnectionError(endpoint_url="http://localhost"),
        client_error(503),
        httpx.ReadTimeout("slow"),
        ConnectionResetError("dropped"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_can_pass_reaches_the_retry_policy_of_the_stage(error):
    assert raised_by(error) is error


@pytest.mark.parametrize(
    "error",
    [
        errors.SchemaNotFoundError("no schema", ref="r"),
        errors.NoDataUrlsError("no urls", name="n"),
        errors.LoginError("wrong password", handle="h", service="s"),
        errors.ShardChangedError("changed", url="s3://b/k", expected="a", found="b"),
        errors.ServiceRefusedError("no", service="pds", status=400, error="InvalidRequest"),
        redis_errors.AuthenticationError("wrong password"),
        client_error(403),
        ZeroDivisionError("a mistake of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_pass_fails_at_once(error):
    failure = raised_by(error)
    assert isinstance(failure, dg.Failure)
    assert failure.allow_retries is False
    assert str(error) in failure.description
    assert failure.metadata["error_class"].value == type(error).__name__


def test_a_run_that_a_person_stops_is_not_tried_again():
    failure = raised_by(dg.DagsterExecutionInterruptedError())
    assert isinstance(failure, dg.Failure)
    assert failure.allow_retries is False


@pytest.mark.parametrize("asked", [61, 7, LONGEST_WAIT])
@pytest.mark.parametrize("kind", [errors.RateLimitedError, errors.ServiceUnavailableError])
def test_a_service_that_says_when_is_waited_for(asked, kind):
    retry = raised_by(kind("slow down", service="pds", status=503, retry_after=asked))
    assert isinstance(retry, dg.RetryRequested)
    assert retry.seconds_to_wait == asked


def test_a_service_that_asks_for_a_long_time_is_not_asked_again_by_this_run():
    failure = raised_by(errors.RateLimitedError("slow down", service="pds", status=429, retry_after=86_400))
    assert isinstance(failure, dg.Failure)
    assert failure.allow_retries is False
    assert failure.metadata["retry_after"].value == 86_400


def test_facts_are_shown_without_what_a_url_may_carry():
    error = errors.ShardMissingError("gone", url="https://host/x.tar?X-Amz-Signature=abc", objects=object())
    failure = raised_by(error)
    assert "abc" not in str(failure.metadata)
    assert "https://host/x.tar" in failure.metadata["url"].value
    assert "objects" not in failure.metadata
