"""Settings of nbgrader for this course. nbgrader reads them if it is started in this folder."""

c = get_config()  # noqa: F821  # given by nbgrader

c.CourseDirectory.course_id = "distilling-transformers"
# Seconds per cell: the slowest takes 15 on a free core, and graders often run several at once.
c.Execute.timeout = 120
