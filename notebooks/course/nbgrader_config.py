"""Settings of nbgrader for this course. nbgrader reads them if it is started in this folder."""

c = get_config()  # noqa: F821  # given by nbgrader

c.CourseDirectory.course_id = "distilling-transformers"
# Seconds per cell. The slowest needs about 20 of processor time; machines that grade are busy.
c.Execute.timeout = 300
c.Execute.iopub_timeout = 60  # for the output of a cell that has ended
