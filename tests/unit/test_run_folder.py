import logging

from clusterlab.run_folder import logging_to


def test_after_a_run_logging_is_as_it_was_before(tmp_path):
    logger = logging.getLogger("clusterlab")
    before = (logger.level, list(logger.handlers))
    (tmp_path / "new").mkdir()
    with logging_to(tmp_path / "new"):
        assert logger.level == logging.INFO
        logging.getLogger("clusterlab.anything").info("so many images")
    assert (logger.level, logger.handlers) == before
    assert (tmp_path / "new" / "clusterlab.log").read_text().endswith("INFO clusterlab.anything: so many images\n")
